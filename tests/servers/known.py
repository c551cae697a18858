"""What is known of the services that ``tests/contract/test_verbs.py`` tries: a row for each thing that does not work.

A row is named by a feature (the test's mark ``needs``), by a test, or by one case of a test. A row that has ceased to
be true fails. docs/services.md says the same in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

Rows = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Known:
    lacks: Rows = field(default_factory=dict)
    """What it refuses: the library raises ``UnsupportedByServiceError``."""
    wrong: Rows = field(default_factory=dict)
    """What it does otherwise than S3, so that a test of what S3 does must fail."""
    hangs: Rows = field(default_factory=dict)
    """What is not tried, because the answer never comes."""


IGNORED = "the condition is ignored without a word, and the object replaced"
NO_V2 = "only SigV4 is known"
NOTHING_KEPT = "neither type nor other headers nor metadata are kept"
NO_KEY_BELOW_A_KEY = "keys are names of files: no file can be below a file"

NEWER_SETTINGS = (
    *("bucket encryption", "public access block", "notifications", "bucket lock", "access logs", "ownership"),
)

RCLONE = Known(
    lacks={
        "versions": "501 to ?versioning",
        "listing of versions": "501 to ?versions",
        "conditional writes": IGNORED,
        "test_a_large_object_is_stored_if_it_is_absent": IGNORED,
        "tags": "a listing, or the object itself, in answer to ?tagging",
        "bucket tags": "a listing in answer to ?tagging",
        "object ACLs": "the object itself in answer to ?acl",
        "bucket ACLs": "a listing in answer to ?acl",
        "CORS rules": "a listing in answer to ?cors",
        "lifecycle rules": "a listing in answer to ?lifecycle",
        "policy": "a listing in answer to ?policy",
        "website": "a listing in answer to ?website",
        **dict.fromkeys(NEWER_SETTINGS, "a listing in answer to the GET; a DELETE would delete the bucket"),
    },
    wrong={
        "test_an_odd_key_goes_round[a slash first]": "keys are names of files: 400 InvalidArgument",
        "test_an_odd_key_goes_round[a slash last]": "keys are names of files: stored without the slash",
        "test_an_odd_key_goes_round[two slashes]": "keys are names of files: 400 InvalidArgument",
        "test_an_odd_key_goes_round[dots]": "keys are names of files: 400 InvalidArgument",
        "test_an_odd_key_goes_round[1024 bytes]": "400 MetadataTooLarge to a copy of so long a name",
        "test_an_odd_key_goes_round[a key below a key]": NO_KEY_BELOW_A_KEY,
        "test_an_object_is_read_if_it_is_the_one_that_is_meant": "If-Match of a GET is ignored",
        "test_a_copy_has_the_headers": "a copy has an mtime of its own among its metadata",
        "test_a_copy_has_other_metadata": "a copy has an mtime of its own among its metadata",
        "test_metadata_is_changed_by_a_copy_onto_itself": "a copy onto itself is answered without an ETag",
        "test_headers_are_changed_in_place": "a copy onto itself is answered without an ETag",
        "test_a_presigned_url_is_good_for_what_it_is_for": "400 without a signature, where S3 says 403",
        "version 2 signatures": NO_V2,
        "browser forms": "400 UnsupportedAlgorithm",
        "test_a_bucket_is_deleted_with_an_open_upload": "the directory of an aborted upload stays, and nothing lists it",
        "test_an_object_goes_to_another_service_and_comes_back[large]": "a HEAD tells another ETag than the completion did",
    },
)

LOCALBUCKET = Known(
    lacks={
        "versions": "501 to ?versioning",
        "listing of versions": "501 to ?versions",
        "listing of uploads": "501 to ?uploads",
        "test_an_object_is_replaced_if_it_is_the_one_that_is_meant": IGNORED,
        "tags": "501 to a PUT of ?tagging",
        "bucket tags": "501",
        "object ACLs": "501",
        "bucket ACLs": "501",
        "CORS rules": "501",
        "lifecycle rules": "501",
        "policy": "501",
        "website": "501",
        **dict.fromkeys(NEWER_SETTINGS, "501"),
    },
    wrong={
        "headers": NOTHING_KEPT,
        "test_an_odd_key_goes_round[a slash first]": "keys are names of files: 400 InvalidArgument",
        "test_an_odd_key_goes_round[a slash last]": "keys are names of files: 400 InvalidArgument",
        "test_an_odd_key_goes_round[two slashes]": "keys are names of files: 400 InvalidArgument",
        "test_an_odd_key_goes_round[dots]": "keys are names of files: 400 InvalidArgument",
        "test_an_odd_key_goes_round[1024 bytes]": "keys are names of files: the connection is closed",
        "test_an_odd_key_goes_round[a key below a key]": NO_KEY_BELOW_A_KEY,
        "test_an_object_is_read_if_it_is_the_one_that_is_meant": "If-Match of a GET is ignored",
        "test_a_presigned_url_is_good_for_what_it_is_for": "signatures are not checked",
        "browser forms": "the connection is closed",
    },
)

JUICEFS = Known(
    lacks={
        "versions": "501 to ?versioning",
        "conditional writes": IGNORED,
        "test_a_large_object_is_stored_if_it_is_absent": IGNORED,
        "object ACLs": "501 to a PUT of ?acl",
        "bucket ACLs": "501 to a PUT of ?acl",
        "CORS rules": "501",
        "lifecycle rules": "501",
        "website": "501",
        **{name: "501, some only to a PUT" for name in NEWER_SETTINGS if name != "notifications"},
    },
    wrong={
        "notifications": "400: no destination is known",
        "test_an_odd_key_goes_round[a slash first]": "keys are names of files: listed without the slash",
        "test_an_odd_key_goes_round[a slash last]": "keys are names of files: 409 XMinioObjectExistsAsDirectory",
        "test_an_odd_key_goes_round[two slashes]": "keys are names of files: 400 XMinioInvalidObjectName",
        "test_an_odd_key_goes_round[dots]": "keys are names of files: 400 XMinioInvalidResourceName",
        "test_an_odd_key_goes_round[a key below a key]": NO_KEY_BELOW_A_KEY,
        "test_an_object_keeps[encoding]": "the encoding 'identity' is not kept",
        "test_many_objects_are_listed_and_deleted": "directories that became empty are listed",
    },
)

JUICEFS_PLAIN = replace(
    JUICEFS,
    lacks={**JUICEFS.lacks, "tags": "501: only with --object-tag"},
    wrong={
        **JUICEFS.wrong,
        "headers": f"{NOTHING_KEPT} without --object-meta",
        "test_a_tree_is_not_copied_again[etag]": "nothing has an ETag without --keep-etag",
        "test_a_tree_is_not_sent_again[etag]": "nothing has an ETag without --keep-etag",
        "test_an_object_has_the_same_etag_wherever_it_is_told": "nothing has an ETag without --keep-etag",
        "test_an_object_is_read_if_it_is_the_one_that_is_meant": "nothing has an ETag without --keep-etag",
    },
)

SWIFT = Known(
    lacks={
        "conditional writes": "501 to conditions of a PUT",
        "test_a_large_object_is_stored_if_it_is_absent": "501 to conditions of a PUT",
        "tags": "501",
        "bucket tags": "501",
        "object ACLs": "501 to a PUT of ?acl",
        "CORS rules": "501",
        "policy": "501",
        "website": "501",
        **dict.fromkeys(NEWER_SETTINGS, "a listing, or 501; a DELETE would delete the bucket"),
    },
    wrong={
        "test_an_older_version_comes_back_when_the_newest_is_deleted": "the object is missing then: 404",
        "bucket ACLs": "without s3_acl in its configuration, an ACL is taken and not kept",
        "lifecycle rules": "400 MalformedXML, whatever they are",
        "test_a_presigned_url_is_good_for_what_it_is_for": "400 without a signature, where S3 says 403",
        "browser forms": "405",
    },
    hangs={
        "test_an_object_comes_back_when_its_marker_is_deleted": "the deletion of a marker is done, and never answered",
    },
)

RGW = Known(
    lacks={
        "website": "405",
        "bucket encryption": "a listing in answer to ?encryption; a DELETE would delete the bucket",
        "access logs": "405 to a PUT",
        "ownership": "a listing in answer to ?ownershipControls; a DELETE would delete the bucket",
    },
    wrong={"notifications": "only topics, which must exist"},
)
B2 = Known(
    lacks={
        "conditional writes": "not known: refused before they are sent",
        "test_a_large_object_is_stored_if_it_is_absent": "not known: refused before it is sent",
        "tags": "501",
        "bucket tags": "501",
        "object ACLs": "400: objects have their bucket's ACL",
        "policy": "501",
        "website": "501",
        "version 2 signatures": "only SigV4 is known",
        "browser forms": "not known: refused when they are asked for",
        "bucket lock": "400 to the header of a creation",
    }
)

KNOWN = {
    "rclone": RCLONE,
    "localbucket": LOCALBUCKET,
    "juicefs": JUICEFS,
    "juicefs-plain": JUICEFS_PLAIN,
    "swift": SWIFT,
    "rgw": RGW,
    "b2": B2,
}
