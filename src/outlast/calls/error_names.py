"""How providers and their SDKs call their errors, and the kinds (`kinds.Kind`) that these are."""

from collections.abc import Mapping
from typing import Final


def _table(**names: str) -> Mapping[str, str]:
    return {name: kind for kind, listed in names.items() for name in listed.split()}


#: Codes, in lower case, that mean one thing whatever the status is: policies and money come as 400, 403 and 429.
CERTAIN_CODES: Final = _table(
    refused=(
        "content_filter content_policy_violation content_policy responsibleaipolicyviolation safety prohibited_content "
        "context_length_exceeded"
    ),
    quota="insufficient_quota billing_error billing_not_active billing_hard_limit_reached",
    unauthorized="invalid_api_key api_key_invalid",
)
#: What Anthropic says with a 400.
NO_CREDIT: Final = "credit balance is too low"

#: Of the client errors; those that are not here are refusals of the request.
BY_STATUS: Final[Mapping[int, str]] = {
    401: "unauthorized",
    402: "quota",
    403: "unauthorized",
    404: "not_found",
    408: "timeout",
    # Conflict, too early, closed by a proxy: nothing is wrong with the request.
    409: "network",
    410: "not_found",
    425: "network",
    429: "rate_limit",
    499: "network",
}

#: Codes, in lower case, of errors without a status: in mid-stream, by gRPC, of botocore.
BY_CODE: Final = _table(
    network=(
        "overloaded_error overloaded api_error server_error internal_server_error internal_error internal "
        "service_unavailable unavailable aborted bad_gateway internalserverexception serviceunavailableexception "
        "modelnotreadyexception modelstreamerrorexception"
    ),
    rate_limit=(
        "rate_limit_error rate_limit_exceeded resource_exhausted requests tokens too_many_requests "
        "throttlingexception throttling toomanyrequestsexception servicequotaexceededexception"
    ),
    timeout="timeout_error timeout deadline_exceeded modeltimeoutexception",
    unauthorized=(
        "authentication_error permission_error unauthenticated permission_denied accessdeniedexception "
        "unrecognizedclientexception expiredtokenexception"
    ),
    refused="invalid_request_error invalid_argument failed_precondition request_too_large validationexception",
    not_found="not_found_error not_found model_not_found resourcenotfoundexception",
)

#: Names of classes, looked up along the MRO: a subclass is nearer to the truth than what it is made of.
BY_CLASS: Final = _table(
    timeout=(
        "APITimeoutError ModelTimeoutError TimeoutException Timeout TimeoutError ServerTimeoutError ReadTimeoutError "
        "ConnectTimeoutError DeadlineExceeded GatewayTimeout"
    ),
    bad_answer=(
        "APIResponseValidationError JSONDecodeError DecodingError ContentDecodingError UnicodeDecodeError "
        "OutputParserException LengthFinishReasonError"
    ),
    network=(
        "APIConnectionError ModelConnectionError ModelAPIError TransportError NetworkError ProtocolError ReadError "
        "ConnectError RemoteProtocolError ConnectionError ClientConnectionError ClientPayloadError IncompleteRead "
        "IncompleteReadError ChunkedEncodingError HTTPClientError gaierror SSLError StreamError ServiceUnavailable "
        "InternalServerError ServerError OverloadedError"
    ),
    rate_limit="RateLimitError ModelRateLimitError ResourceExhausted TooManyRequests",
    unauthorized=(
        "AuthenticationError ModelAuthenticationError PermissionDeniedError ModelPermissionDeniedError "
        "PermissionDenied Unauthorized CredentialsError NoCredentialsError DefaultCredentialsError RefreshError"
    ),
    refused=(
        "BadRequestError ModelInvalidRequestError ContextOverflowError UnprocessableEntityError InvalidArgument "
        "OpenAIRefusalError ContentFilterFinishReasonError BlockedPromptException StopCandidateException"
    ),
    not_found="NotFoundError ModelNotFoundError",
)

#: How LangChain begins when a stream had an end and nothing else.
EMPTY_STREAMS: Final = ("No generation chunks were returned", "No generations found in stream")
#: Words in the names of functions that read answers, in lower case.
READING: Final = ("response", "chat_result", "output", "chunk", "generation", "parse", "decode", "message_from")
#: And of those that write requests, for all that.
WRITING: Final = ("payload", "input", "request")
