"""The settings of buckets, and how long Object Lock protects."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NotRequired, TypedDict, get_args

from aiodreamobjects._checks import check_one_of
from aiodreamobjects._models import RetentionMode


@dataclass(frozen=True, slots=True, init=False)
class Retention:
    """How long Object Lock protects: an object ``until`` a time, or each new object of a bucket for some ``days`` or ``years``.

    Give exactly one of the three. A whole number as the second argument means days: ``Retention("GOVERNANCE", 30)``.
    """

    mode: RetentionMode
    until: datetime | None
    days: int | None
    years: int | None

    def __init__(
        self,
        mode: RetentionMode,
        until: datetime | int | None = None,
        days: int | None = None,
        years: int | None = None,
    ) -> None:
        check_one_of("retention mode", mode, get_args(RetentionMode))
        if isinstance(until, int) and days is None:
            until, days = None, until
        given = {
            name: value for name, value in (("until", until), ("days", days), ("years", years)) if value is not None
        }
        if len(given) != 1:
            msg = f"a retention must have exactly one of until, days and years, not {given or 'none'}: write Retention({mode!r}, days=30)"
            raise ValueError(msg)
        [(name, value)] = given.items()
        if name == "until":
            if not isinstance(value, datetime) or value.tzinfo is None:
                msg = f"until {value!r} must be a datetime with a time zone, such as datetime.now(UTC) + timedelta(days=30)"
                raise ValueError(msg)
        elif not isinstance(value, int) or isinstance(value, bool) or value < 1:
            msg = f"{name} {value!r} must be a whole number of at least 1"
            raise ValueError(msg)
        for field_name, checked in (("mode", mode), ("until", until), ("days", days), ("years", years)):
            object.__setattr__(self, field_name, checked)


def check_default_retention(retention: Retention) -> None:
    """Raise ValueError for a retention that a bucket cannot have for its new objects."""
    if not isinstance(retention, Retention) or retention.until is not None:
        msg = (
            f"a bucket's retention must be for days or years, not {retention!r}: write Retention('GOVERNANCE', days=30)"
        )
        raise ValueError(msg)


def parsed_policy(bucket: str, text: str) -> PolicyDocument:
    """Return a policy as parsed JSON. Raise ValueError for text that is not JSON."""
    try:
        document: PolicyDocument = json.loads(text)
    except json.JSONDecodeError as error:
        msg = f"the policy for s3://{bucket} is not JSON: {error}"
        raise ValueError(msg) from error
    return document


# Bucket settings, in the names of the S3 API reference, so that its examples can be pasted.


PolicyDocument = dict[str, object]
"""A bucket policy as parsed JSON."""


class CorsRule(TypedDict):
    AllowedMethods: list[str]
    AllowedOrigins: list[str]
    AllowedHeaders: NotRequired[list[str]]
    ExposeHeaders: NotRequired[list[str]]
    MaxAgeSeconds: NotRequired[int]
    ID: NotRequired[str]


class Tag(TypedDict):
    Key: str
    Value: str


class LifecycleAnd(TypedDict, total=False):
    Prefix: str
    Tags: list[Tag]
    ObjectSizeGreaterThan: int
    ObjectSizeLessThan: int


class LifecycleFilter(TypedDict, total=False):
    Prefix: str
    Tag: Tag
    ObjectSizeGreaterThan: int
    ObjectSizeLessThan: int
    And: LifecycleAnd


class LifecycleExpiration(TypedDict, total=False):
    Date: datetime
    Days: int
    ExpiredObjectDeleteMarker: bool


class LifecycleTransition(TypedDict, total=False):
    Date: datetime
    Days: int
    StorageClass: str


class NoncurrentVersionExpiration(TypedDict, total=False):
    NoncurrentDays: int
    NewerNoncurrentVersions: int


class NoncurrentVersionTransition(TypedDict, total=False):
    NoncurrentDays: int
    StorageClass: str
    NewerNoncurrentVersions: int


class AbortIncompleteMultipartUpload(TypedDict):
    DaysAfterInitiation: int


class LifecycleRule(TypedDict):
    Status: Literal["Enabled", "Disabled"]
    ID: NotRequired[str]
    Filter: NotRequired[LifecycleFilter]
    Prefix: NotRequired[str]
    Expiration: NotRequired[LifecycleExpiration]
    Transitions: NotRequired[list[LifecycleTransition]]
    NoncurrentVersionExpiration: NotRequired[NoncurrentVersionExpiration]
    NoncurrentVersionTransitions: NotRequired[list[NoncurrentVersionTransition]]
    AbortIncompleteMultipartUpload: NotRequired[AbortIncompleteMultipartUpload]


class IndexDocument(TypedDict):
    Suffix: str


class ErrorDocument(TypedDict):
    Key: str


class Redirect(TypedDict, total=False):
    HostName: str
    HttpRedirectCode: str
    Protocol: Literal["http", "https"]
    ReplaceKeyPrefixWith: str
    ReplaceKeyWith: str


class RoutingCondition(TypedDict, total=False):
    HttpErrorCodeReturnedEquals: str
    KeyPrefixEquals: str


class RoutingRule(TypedDict):
    Redirect: Redirect
    Condition: NotRequired[RoutingCondition]


class RedirectAll(TypedDict):
    HostName: str
    Protocol: NotRequired[Literal["http", "https"]]


class Website(TypedDict, total=False):
    IndexDocument: IndexDocument
    ErrorDocument: ErrorDocument
    RedirectAllRequestsTo: RedirectAll
    RoutingRules: list[RoutingRule]


class DefaultEncryption(TypedDict):
    SSEAlgorithm: str
    KMSMasterKeyID: NotRequired[str]


class EncryptionRule(TypedDict):
    ApplyServerSideEncryptionByDefault: DefaultEncryption
    BucketKeyEnabled: NotRequired[bool]


class PublicAccessBlock(TypedDict, total=False):
    BlockPublicAcls: bool
    IgnorePublicAcls: bool
    BlockPublicPolicy: bool
    RestrictPublicBuckets: bool


class FilterRule(TypedDict):
    Name: str
    Value: str


class KeyFilter(TypedDict):
    FilterRules: list[FilterRule]


class NotificationFilter(TypedDict):
    Key: KeyFilter


class TopicConfiguration(TypedDict):
    TopicArn: str
    Events: list[str]
    Id: NotRequired[str]
    Filter: NotRequired[NotificationFilter]


class QueueConfiguration(TypedDict):
    QueueArn: str
    Events: list[str]
    Id: NotRequired[str]
    Filter: NotRequired[NotificationFilter]


class LambdaFunctionConfiguration(TypedDict):
    LambdaFunctionArn: str
    Events: list[str]
    Id: NotRequired[str]
    Filter: NotRequired[NotificationFilter]


class Notification(TypedDict, total=False):
    TopicConfigurations: list[TopicConfiguration]
    QueueConfigurations: list[QueueConfiguration]
    LambdaFunctionConfigurations: list[LambdaFunctionConfiguration]
    EventBridgeConfiguration: dict[str, object]


class Logging(TypedDict):
    TargetBucket: str
    TargetPrefix: str
    TargetGrants: NotRequired[list[dict[str, object]]]
    TargetObjectKeyFormat: NotRequired[dict[str, object]]
