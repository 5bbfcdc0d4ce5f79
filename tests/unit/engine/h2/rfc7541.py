"""The vectors of RFC 7541 appendix C: (block, fields, what the table holds behind it, newest first, its size)."""

REQUESTS = (
    [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com")],
    [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", b"/"),
        (b":authority", b"www.example.com"),
        (b"cache-control", b"no-cache"),
    ],
    [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":path", b"/index.html"),
        (b":authority", b"www.example.com"),
        (b"custom-key", b"custom-value"),
    ],
)
REQUEST_TABLES = (
    [(b":authority", b"www.example.com")],
    [(b"cache-control", b"no-cache"), (b":authority", b"www.example.com")],
    [
        (b"custom-key", b"custom-value"),
        (b"cache-control", b"no-cache"),
        (b":authority", b"www.example.com"),
    ],
)
REQUEST_SIZES = (57, 110, 164)

LOCATION = (b"location", b"https://www.example.com")
DATE_21 = (b"date", b"Mon, 21 Oct 2013 20:13:21 GMT")
DATE_22 = (b"date", b"Mon, 21 Oct 2013 20:13:22 GMT")
COOKIE = (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1")
RESPONSES = (
    [(b":status", b"302"), (b"cache-control", b"private"), DATE_21, LOCATION],
    [(b":status", b"307"), (b"cache-control", b"private"), DATE_21, LOCATION],
    [
        (b":status", b"200"),
        (b"cache-control", b"private"),
        DATE_22,
        LOCATION,
        (b"content-encoding", b"gzip"),
        COOKIE,
    ],
)
RESPONSE_TABLES = (
    [LOCATION, DATE_21, (b"cache-control", b"private"), (b":status", b"302")],
    [(b":status", b"307"), LOCATION, DATE_21, (b"cache-control", b"private")],
    [COOKIE, (b"content-encoding", b"gzip"), DATE_22],
)
RESPONSE_SIZES = (222, 222, 215)
RESPONSE_TABLE = 256  # SETTINGS_HEADER_TABLE_SIZE of C.5 and C.6

# C.2: one field each
SINGLES = (
    ("C.2.1", "400a637573746f6d2d6b65790d637573746f6d2d686561646572", b"custom-key", b"custom-header", 55),
    ("C.2.2", "040c2f73616d706c652f70617468", b":path", b"/sample/path", 0),
    ("C.2.3", "100870617373776f726406736563726574", b"password", b"secret", 0),
    ("C.2.4", "82", b":method", b"GET", 0),
)
C3 = (
    "828684410f7777772e6578616d706c652e636f6d",
    "828684be58086e6f2d6361636865",
    "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
)
C4 = (
    "828684418cf1e3c2e5f23a6ba0ab90f4ff",
    "828684be5886a8eb10649cbf",
    "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
)
C5 = (
    "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54"
    "6e1768747470733a2f2f7777772e6578616d706c652e636f6d",
    "4803333037c1c0bf",
    "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d415344"
    "4a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
)
C6 = (
    "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
    "4883640effc1c0bf",
    "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960"
    "d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
)
DIALOGS = {
    "C.3": (C3, REQUESTS, REQUEST_TABLES, REQUEST_SIZES),
    "C.4": (C4, REQUESTS, REQUEST_TABLES, REQUEST_SIZES),
    "C.5": (C5, RESPONSES, RESPONSE_TABLES, RESPONSE_SIZES),
    "C.6": (C6, RESPONSES, RESPONSE_TABLES, RESPONSE_SIZES),
}
