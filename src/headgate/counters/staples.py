"""Counters of OCSP staples, which the keeper writes."""

from typing import Final

from headgate.counters.table import TABLE, counter, gauge

_FETCHES = "OCSP fetches, by outcome."
OCSP_FETCH_OK: Final = counter("ocsp_fetches_total", _FETCHES, outcome="ok")
OCSP_FETCH_FAILED: Final = counter("ocsp_fetches_total", _FETCHES, outcome="failed")
OCSP_FETCH_REFUSED: Final = counter("ocsp_fetches_total", _FETCHES, outcome="not-believed")
OCSP_FETCH_DISPLACED: Final = counter("ocsp_fetches_total", _FETCHES, outcome="displaced")
# Why a fetch brought no staple, from the first stage to the last; statuses by class. A closed list: whatever is not
# named here is "other", so that no peer can make labels.
OCSP_FAILURES: Final = (
    "resolve",
    "refused-address",
    "connect",
    "tls",
    "send",
    "head",
    "body",
    "protocol",
    "redirect",
    "http-2xx",
    "http-3xx",
    "http-4xx",
    "http-5xx",
    "content-type",
    "too-large",
    "malformed",
    "malformed-request",
    "internal-error",
    "try-later",
    "sig-required",
    "unauthorized",
    "critical-extension",
    "weak-signature",
    "unsupported-signature",
    "bad-signature",
    "unknown-signer",
    "delegate-not-issued",
    "delegate-expired",
    "delegate-not-for-ocsp",
    "delegate-weak-signature",
    "issuer-expired",
    "wrong-certificate",
    "from-the-future",
    "no-next-update",
    "bad-window",
    "expired",
    "unknown",
    "no-issuer",
    "older-than-revocation",
    "overran",
    "defect",
    "other",
)
OCSP_FAILURES_FIRST: Final = len(TABLE)
for _reason in OCSP_FAILURES:
    counter("ocsp_failures_total", "OCSP fetches that brought no staple, by reason.", reason=_reason)
OCSP_SOURCE_REFUSED: Final = counter("ocsp_sources_refused_total", "Stored and file responses not believed.")
OCSP_STORE_FAILED: Final = counter("ocsp_store_failed_total", "Staples that could not be read or written.")
OCSP_WITHDRAWN: Final = counter("ocsp_withdrawn_total", "Staples withdrawn because they ended.")
STAPLE_STATES: Final = (
    "fresh",
    "expiring",
    "expired",
    "pending",
    "none",
    "revoked",
    "off",
    "no-responder",
    "no-issuer",
)
STAPLES_FIRST: Final = len(TABLE)
for _state in STAPLE_STATES:
    gauge("staples", "Certificates by the state of their staple.", state=_state)
