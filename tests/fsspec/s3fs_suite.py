"""A plugin of pytest: gives s3fs's own tests this filesystem in place of its class. The session ``data`` of nox runs them.

What is named here fails, and must fail: it is s3fs's dialect, or relies on a fault of s3fs. All the rest must pass.
"""

from __future__ import annotations

import os

import pytest
import s3fs.core

from aiodreamobjects.fsspec import DreamObjectsFileSystem, register

INSIDE = "uses s3fs's own client, connection or upload"
OPTION = "uses an option that s3fs alone has"
METHOD = "uses a method that s3fs alone has"
OTHER = {
    "test_change_defaults_only_subsequent": "the default block is 8 MiB here, and 50 MiB there",
    "test_errors": "an exception in a with block stores the torn object in s3fs, and a later line of the test opens it",
    "test_errors_cause_preservings": "the cause is an error of botocore there",
    "test_list_del_multipart": "6 MiB begin no upload here: the block is 8 MiB",
    "test_split_path": "there are no ARNs of access points here",
    "test_url": "looks for the parameters of SigV2 in a URL",
}
NAMES = {
    INSIDE: """
        test_append test_async_close test_async_s3 test_async_s3_old test_autocommit_mpu test_checksum
        test_client_kwargs test_copy_managed test_credentials test_idempotent_connect test_invalidate_cache
        test_listing_retries_transient_errors test_multi_checksum test_multiple_objects test_multipart_upload_blocksize
        test_no_connection_sharing_among_processes test_session_close
        test_set_session_closed_sessions_rebuilds_once test_set_session_concurrent_no_leak
        test_set_session_sessions_none test_write_blocks test_write_small_secure test_write_small_with_acl test_xattr
    """,
    OPTION: """
        test_config_kwargs test_config_kwargs_class_attributes_default
        test_config_kwargs_class_attributes_override test_default_pars test_local_expiry_check
        test_raise_exception_when_file_has_changed_during_reading test_requester_pays
        test_requester_pays_makedirs_uses_object_listing test_requester_pays_per_file_override
        test_s3fs_etag_preserving_multipart_copy test_set_session_preserves_injected_session test_ssl_off
        test_upload_part_with_prime_pads test_upload_parts test_user_session_is_preserved
    """,
    METHOD: "test_not_delegate",
}
NOT_HERE = {name: reason for reason, names in NAMES.items() for name in names.split()} | OTHER

os.environ.setdefault("AWS_ACCESS_KEY_ID", "foo")
os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "foo")
s3fs.core.S3FileSystem = s3fs.S3FileSystem = DreamObjectsFileSystem
register(s3=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if reason := NOT_HERE.get(item.name.partition("[")[0]):
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
