"""S3's error codes, and the refusal that carries one."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, unique


@unique
class Code(Enum):
    """Each code with its HTTP status and usual message (S3 API reference, "Error responses"; some are Ceph RGW's)."""

    AccessDenied = 403, "Access Denied."
    AccessForbidden = 403, "CORSResponse: This CORS request is not allowed."
    AccountProblem = 403, "There is a problem with your account."
    AuthorizationHeaderMalformed = 400, "The authorization header is malformed."
    AuthorizationQueryParametersError = 400, "The query parameters of the signature are malformed."
    BadDigest = 400, "The digest you specified did not match what we received."
    BadRequest = 400, "Bad Request."
    BucketAlreadyExists = 409, "The requested bucket name is not available."
    BucketAlreadyOwnedByYou = 409, "Your previous request to create the named bucket succeeded and you already own it."
    BucketNotEmpty = 409, "The bucket you tried to delete is not empty."
    ConditionalRequestConflict = 409, "A conflicting operation occurred during the request to this resource."
    EntityTooLarge = 400, "Your proposed upload is larger than the maximum allowed size."
    EntityTooSmall = 400, "Your proposed upload is smaller than the minimum allowed size."
    ExpiredToken = 400, "The provided token has expired."
    IncompleteBody = 400, "You did not provide the number of bytes specified by the Content-Length HTTP header."
    InternalError = 500, "We encountered an internal error. Please try again."
    InvalidAccessKeyId = 403, "The key is not valid."
    InvalidArgument = 400, "Invalid argument."
    InvalidBucketState = 409, "The request is not valid for the current state of the bucket."
    InvalidEncryptionAlgorithmError = 400, "The encryption request that you specified is not valid."
    InvalidBucketName = 400, "The specified bucket is not valid."
    InvalidDigest = 400, "The Content-MD5 you specified is not valid."
    InvalidLocationConstraint = 400, "The specified location constraint is not valid."
    InvalidObjectState = 403, "The operation is not valid for the current state of the object."
    InvalidPart = 400, "One or more of the specified parts could not be found."
    InvalidPartNumber = 416, "The requested part number is not satisfiable."
    InvalidPartOrder = 400, "The list of parts was not in ascending order."
    InvalidPolicyDocument = 400, "The policy of the form is not valid."
    InvalidRange = 416, "The requested range is not satisfiable."
    InvalidRedirectLocation = 400, "The website redirect location must begin with '/', 'http://' or 'https://'."
    InvalidRequest = 400, "The request is not valid."
    InvalidStorageClass = 400, "The storage class you specified is not valid."
    InvalidTag = 400, "The tag provided was not a valid tag."
    InvalidToken = 400, "The provided token is malformed or otherwise not valid."
    InvalidURI = 400, "The URI could not be parsed."
    KeyTooLongError = 400, "Your key is too long."
    MalformedACLError = 400, "The ACL that you provided was not well formed or did not validate."
    MalformedPOSTRequest = 400, "The body of your POST request is not well-formed multipart/form-data."
    MalformedPolicy = 400, "The policy does not have a valid form."
    MalformedXML = 400, "The XML you provided was not well-formed or did not validate."
    MetadataTooLarge = 400, "Your metadata headers exceed the maximum allowed metadata size."
    MethodNotAllowed = 405, "The specified method is not allowed against this resource."
    MissingContentLength = 411, "You must provide the Content-Length HTTP header."
    NoSuchBucket = 404, "The specified bucket does not exist."
    NoSuchBucketPolicy = 404, "The bucket policy does not exist."
    NoSuchCORSConfiguration = 404, "The CORS configuration does not exist."
    NoSuchKey = 404, "The specified key does not exist."
    NoSuchLifecycleConfiguration = 404, "The lifecycle configuration does not exist."
    NoSuchObjectLockConfiguration = 404, "The specified object does not have an ObjectLock configuration."
    NoSuchPublicAccessBlockConfiguration = 404, "The public access block configuration was not found."
    NoSuchTagSet = 404, "The TagSet does not exist."
    NoSuchUpload = 404, "The specified multipart upload does not exist."
    NoSuchVersion = 404, "The specified version does not exist."
    NoSuchWebsiteConfiguration = 404, "The specified bucket does not have a website configuration."
    NotImplemented = 501, "This API call is not implemented."
    NotModified = 304, "Not Modified."
    ObjectLockConfigurationNotFoundError = 404, "The Object Lock configuration does not exist for this bucket."
    OperationAborted = 409, "A conflicting conditional operation is in progress against this resource."
    OwnershipControlsNotFoundError = 404, "The bucket ownership controls were not found."
    PreconditionFailed = 412, "At least one of the preconditions you specified did not hold."
    QuotaExceeded = 403, "The quota is exceeded."
    RequestTimeTooSkewed = 403, "The difference between the request time and the server's time is too large."
    RequestTimeout = 400, "Your socket connection was not read from or written to within the timeout period."
    ServerSideEncryptionConfigurationNotFoundError = 404, "The server side encryption configuration was not found."
    ServiceUnavailable = 503, "Service is unable to handle the request."
    SignatureDoesNotMatch = 403, "Signature validation failed."
    SlowDown = 503, "Please reduce your request rate."
    TooManyBuckets = 400, "You have attempted to create more buckets than allowed."
    TooManyRequests = 429, "Please reduce your request rate by a lot."
    UnresolvableGrantByEmailAddress = 400, "The email address you provided does not match any account on record."
    XAmzContentSHA256Mismatch = 400, "The provided 'x-amz-content-sha256' header does not match what was computed."


class S3Error(Exception):
    """A refusal: S3's code, its status, a message, and headers that go out with it."""

    def __init__(
        self,
        code: Code | str,
        message: str = "",
        headers: Mapping[str, str] | None = None,
        *,
        status: int | None = None,
    ) -> None:
        """``status`` is needed for a code that is not in ``Code``."""
        known = code if isinstance(code, Code) else Code.__members__.get(code)
        usual_status, usual_message = known.value if known else (500, "")
        self.name = code.name if isinstance(code, Code) else code
        self.status = status or usual_status
        self.message = message or usual_message
        self.headers = dict(headers or {})
        super().__init__(f"{self.status} {self.name}: {self.message}")
