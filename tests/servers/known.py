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
    ours: Rows = field(default_factory=dict)
    """What the library could do better there, and does not yet."""
    hangs: Rows = field(default_factory=dict)
    """What is not tried, because the answer never comes."""


IGNORED = "the condition is ignored without a word, and the object replaced"
NO_V2 = "only SigV4 is known"
NOTHING_KEPT = "neither type nor other headers nor metadata are kept"
NO_KEY_BELOW_A_KEY = "keys are names of files: no file can be below a file"

# Kinds of what is ours, until it is mended.
FORCED = "what a service lacks stops a deletion that does not need it"
UNANSWERED = "what a service does not answer is not asked again one by one"
NO_ETAG = "an answer without an ETag is not taken"
RANGES = "a range that comes with a 200 is not taken"
ROOTS = "an upload that is created with another root element is not taken"
SILENT = "what a service ignores is not found out before it is asked"
OWN_BUCKET = "a bucket that is one's own is not looked for when the service says that it exists"
NO_RESUME = "an upload is not begun afresh where its parts cannot be listed"
SUB_RESOURCE = "an answer that has nothing to do with the sub-resource is not taken for a lack"

RCLONE = Known(
    lacks={"versions": "501 to ?versioning", "listing of versions": "501 to ?versions"},
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
        "test_a_presigned_url_is_good_for_what_it_is_for": "400 without a signature, where S3 says 403",
        "version 2 signatures": NO_V2,
        "browser forms": "400 UnsupportedAlgorithm",
    },
    ours={
        "test_a_bucket_may_exist_already": OWN_BUCKET,
        "test_a_missing_bucket_is_not_found": FORCED,
        "test_a_bucket_is_emptied": FORCED,
        "test_a_bucket_is_deleted_with_its_content": FORCED,
        "test_a_bucket_is_deleted_with_an_open_upload": ROOTS,
        "test_a_range_is_read": RANGES,
        "test_a_reader_is_sought_in": RANGES,
        "test_an_object_is_stored_if_it_is_absent": SILENT,
        "test_an_object_is_replaced_if_it_is_the_one_that_is_meant": SILENT,
        "test_a_large_object_is_stored_in_parts": ROOTS,
        "test_a_large_object_has_its_headers": ROOTS,
        "test_a_large_file_is_stored_with_its_time": ROOTS,
        "test_a_writer_stores_what_is_written": ROOTS,
        "test_what_fails_in_a_later_part_leaves_the_old_object": ROOTS,
        "test_an_upload_that_broke_is_resumed": ROOTS,
        "test_no_upload_is_left": ROOTS,
        "test_open_uploads_are_listed_and_aborted": ROOTS,
        "test_metadata_is_changed_by_a_copy_onto_itself": NO_ETAG,
        "test_an_object_in_parts_is_copied": ROOTS,
        "test_a_large_object_is_copied_in_parts": ROOTS,
        "test_an_object_goes_to_another_service_and_comes_back[large]": ROOTS,
        "test_an_object_has_tags": SUB_RESOURCE,
        "test_a_copy_has_the_tags_or_others": SILENT,
        "test_tags_that_are_refused_leave_the_content": SILENT,
        "test_a_bucket_has_tags": SUB_RESOURCE,
        "test_an_object_has_an_acl": SUB_RESOURCE,
        "test_an_acl_that_is_refused_leaves_the_content": SILENT,
        "test_a_bucket_has_an_acl": SUB_RESOURCE,
        "test_a_bucket_has_cors_rules": SUB_RESOURCE,
        "test_a_bucket_has_lifecycle_rules": SUB_RESOURCE,
        "test_a_bucket_has_a_policy": SUB_RESOURCE,
        "test_a_bucket_is_a_website": SUB_RESOURCE,
    },
)

LOCALBUCKET = Known(
    lacks={
        "versions": "501 to ?versioning",
        "listing of versions": "501 to ?versions",
        "listing of uploads": "501 to ?uploads",
        "tags": "501 to a PUT of ?tagging",
        "bucket tags": "501",
        "object ACLs": "501",
        "bucket ACLs": "501",
        "CORS rules": "501",
        "lifecycle rules": "501",
        "policy": "501",
        "website": "501",
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
    ours={
        "test_a_missing_bucket_is_not_found": FORCED,
        "test_a_bucket_is_emptied": FORCED,
        "test_a_bucket_is_deleted_with_its_content": FORCED,
        "test_a_bucket_is_deleted_with_an_open_upload": FORCED,
        "test_an_object_is_replaced_if_it_is_the_one_that_is_meant": SILENT,
        "test_an_upload_that_broke_is_resumed": NO_RESUME,
    },
)

JUICEFS = Known(
    lacks={
        "versions": "501 to ?versioning",
        "object ACLs": "501 to a PUT of ?acl",
        "bucket ACLs": "501 to a PUT of ?acl",
        "CORS rules": "501",
        "lifecycle rules": "501",
        "website": "501",
    },
    wrong={
        "test_an_odd_key_goes_round[a slash first]": "keys are names of files: listed without the slash",
        "test_an_odd_key_goes_round[a slash last]": "keys are names of files: 409 XMinioObjectExistsAsDirectory",
        "test_an_odd_key_goes_round[two slashes]": "keys are names of files: 400 XMinioInvalidObjectName",
        "test_an_odd_key_goes_round[dots]": "keys are names of files: 400 XMinioInvalidResourceName",
        "test_an_odd_key_goes_round[a key below a key]": NO_KEY_BELOW_A_KEY,
        "test_an_object_keeps[encoding]": "the encoding 'identity' is not kept",
    },
    ours={
        "test_a_bucket_is_emptied": UNANSWERED,
        "test_a_bucket_is_deleted_with_its_content": UNANSWERED,
        "test_an_odd_key_goes_round[a space and more]": UNANSWERED,
        "test_an_odd_key_goes_round[signs of a URL]": UNANSWERED,
        "test_an_odd_key_goes_round[what is encoded]": UNANSWERED,
        "test_an_odd_key_goes_round[signs of XML]": UNANSWERED,
        "test_an_odd_key_goes_round[other signs]": UNANSWERED,
        "test_an_odd_key_goes_round[beyond Unicode's first plane]": UNANSWERED,
        "test_an_odd_key_goes_round[a long name]": UNANSWERED,
        "test_an_odd_key_goes_round[1024 bytes]": UNANSWERED,
        "test_an_odd_key_goes_round[a tab]": UNANSWERED,
        "test_an_object_is_stored_if_it_is_absent": SILENT,
        "test_an_object_is_replaced_if_it_is_the_one_that_is_meant": SILENT,
        "test_many_objects_are_listed_and_deleted": UNANSWERED,
        "test_a_tree_loses_what_its_source_lacks": UNANSWERED,
    },
)

JUICEFS_PLAIN = replace(
    JUICEFS,
    lacks={**JUICEFS.lacks, "tags": "501: only with --object-tag"},
    wrong={
        **JUICEFS.wrong,
        "headers": f"{NOTHING_KEPT} without --object-meta",
        "test_a_tree_is_not_copied_again[etag]": "nothing has an ETag without --keep-etag",
    },
    ours={
        "test_an_acl_that_is_refused_leaves_the_content": NO_ETAG,
        "test_tags_that_are_refused_leave_the_content": NO_ETAG,
        "test_an_object_moves_to_another_bucket": NO_ETAG,
        "test_a_copy_with_other_metadata_has_the_content": NO_ETAG,
        "test_a_writer_stores_what_is_written": NO_ETAG,
        "test_a_bucket_with_an_object_is_not_deleted": NO_ETAG,
        "test_a_bucket_is_emptied": UNANSWERED,
        "test_a_bucket_is_deleted_with_its_content": UNANSWERED,
        "test_an_object_is_stored_read_and_deleted": NO_ETAG,
        "test_an_object_has_the_same_etag_wherever_it_is_told": NO_ETAG,
        "test_an_empty_object_is_an_object": NO_ETAG,
        "test_an_odd_key_goes_round[a space and more]": NO_ETAG,
        "test_an_odd_key_goes_round[signs of a URL]": NO_ETAG,
        "test_an_odd_key_goes_round[what is encoded]": NO_ETAG,
        "test_an_odd_key_goes_round[signs of XML]": NO_ETAG,
        "test_an_odd_key_goes_round[other signs]": NO_ETAG,
        "test_an_odd_key_goes_round[beyond Unicode's first plane]": NO_ETAG,
        "test_an_odd_key_goes_round[a long name]": NO_ETAG,
        "test_an_odd_key_goes_round[1024 bytes]": NO_ETAG,
        "test_an_odd_key_goes_round[a tab]": NO_ETAG,
        "test_an_odd_key_goes_round[a bell]": NO_ETAG,
        "test_a_range_is_read": NO_ETAG,
        "test_a_reader_is_sought_in": NO_ETAG,
        "test_an_object_is_read_if_it_is_the_one_that_is_meant": NO_ETAG,
        "test_an_object_is_stored_if_it_is_absent": SILENT,
        "test_an_object_is_replaced_if_it_is_the_one_that_is_meant": SILENT,
        "test_a_large_object_is_stored_in_parts": NO_ETAG,
        "test_what_fails_in_a_later_part_leaves_the_old_object": NO_ETAG,
        "test_an_upload_that_broke_is_resumed": NO_ETAG,
        "test_a_large_object_is_stored_if_it_is_absent": NO_ETAG,
        "test_many_objects_are_listed_and_deleted": UNANSWERED,
        "test_a_copy_has_the_content": NO_ETAG,
        "test_an_object_in_parts_is_copied": NO_ETAG,
        "test_a_large_object_is_copied_in_parts": NO_ETAG,
        "test_a_copy_is_made_if_nothing_is_there": NO_ETAG,
        "test_an_object_goes_to_another_service_and_comes_back": NO_ETAG,
        "test_a_tree_goes_up_and_comes_down": NO_ETAG,
        "test_a_tree_is_not_sent_again": NO_ETAG,
        "test_a_tree_loses_what_its_source_lacks": UNANSWERED,
        "test_a_tree_is_copied": NO_ETAG,
        "test_a_tree_goes_to_another_service_and_comes_back": NO_ETAG,
        "test_anyone_writes_by_a_presigned_url": NO_ETAG,
        "test_a_browser_form_stores_its_key": NO_ETAG,
    },
)

SWIFT = Known(
    lacks={
        "conditional writes": "501 to conditions of a PUT",
        "tags": "501",
        "bucket tags": "501",
        "object ACLs": "501 to a PUT of ?acl",
        "CORS rules": "501",
        "policy": "501",
        "website": "501",
    },
    wrong={
        "bucket ACLs": "without s3_acl in its configuration, an ACL is taken and not kept",
        "lifecycle rules": "400 MalformedXML, whatever they are",
        "test_a_presigned_url_is_good_for_what_it_is_for": "400 without a signature, where S3 says 403",
        "browser forms": "405",
    },
    ours={
        "test_a_bucket_is_emptied": UNANSWERED,
        "test_a_bucket_is_deleted_with_its_content": UNANSWERED,
        "test_a_bucket_is_deleted_with_its_versions": UNANSWERED,
        "test_versions_are_deleted_at_once": UNANSWERED,
    },
    hangs={
        "test_an_object_comes_back_when_its_marker_is_deleted": "the deletion of a marker is done, and never answered",
    },
)

RGW = Known(lacks={"website": "405"})
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
