import hashlib
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.data.loopback import BODY, HALF, QUICK, SHA256, Server, raw, says, serves, status

from quickstudy.data.download import Patience, fetch, verify
from quickstudy.errors import DataError


def refused(get, server, *parts, patience=QUICK, page="/file"):
    with pytest.raises(DataError) as error:
        get(server, patience, page)
    said = str(error.value)
    assert said.startswith(f"cannot fetch {server.url}{page}: ")
    assert "\n" not in said
    for part in parts:
        assert part in said
    return said


def test_a_file_comes_whole_and_once(get, tmp_path):
    with Server(serves(BODY)) as server:
        told = get(server)
        assert told[0] == (0, len(BODY))
        assert told[-1] == (len(BODY), len(BODY))
        assert told == sorted(told)
        assert get(server) == []
        (tmp_path / "file").write_bytes(b"another file")
        get(server)
        assert len(server.requests) == 2
        assert server.requests[0].headers["user-agent"].startswith("quickstudy/")


def test_a_folder_is_made(tmp_path):
    with Server(serves(BODY)) as server:
        path = tmp_path / "a" / "b" / "file"
        fetch(server.url, path, sha256=SHA256, size=len(BODY))
        assert path.read_bytes() == BODY


def test_a_cut_connection_goes_on_where_it_was_cut(get):
    with Server(serves(BODY, cut=HALF), serves(BODY, cut=1000), serves(BODY)) as server:
        told = get(server)
        assert told == sorted(told)  # nothing came twice
        first, second, third = server.requests
        assert "range" not in first.headers
        assert second.headers["range"] == f"bytes={HALF}-"
        assert second.headers["if-range"] == '"1"'
        assert third.headers["range"] == f"bytes={HALF + 1000}-"


def test_the_next_call_goes_on_too(get, tmp_path):
    with Server(serves(BODY, cut=HALF)) as server:
        once = QUICK._replace(attempts=1)
        refused(get, server, f"{HALF} of 300000 bytes are kept", "(tried 1 times", patience=once)
        assert os.listdir(tmp_path) == [".file.part"]
        server.answers = [serves(BODY)]
        told = get(server)
        assert told[0] == (HALF, len(BODY))
        assert server.requests[1].start == HALF


@pytest.mark.parametrize(
    "then",
    [
        serves(BODY, etag='"2"'),  # the file changed: the whole of it
        says("200 OK", BODY),  # ranges are ignored
        says("206 Partial Content", BODY[7:], Content_Range="bytes 7-299999/300000"),
        says("206 Partial Content", BODY[HALF:], Content_Range="parts of it"),
        says("206 Partial Content", BODY[HALF:]),
        says("416 Range Not Satisfiable"),
        says("503 Service Unavailable"),
        says("429 Too Many Requests", Retry_After=1),
        raw(b""),
        raw(b"\x16\x03\x01 no HTTP at all\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n" + BODY[:3]),
    ],
)
def test_what_is_no_answer_to_a_range(get, then):
    with Server(serves(BODY, cut=HALF), then, serves(BODY)) as server:
        get(server)
        assert server.requests[1].start == HALF


def test_a_changed_file_is_not_stitched_to_the_old_one(get):
    """Its first half comes from one version, and the server says so when asked for the second."""
    other = bytes(len(BODY))
    with Server(serves(other, etag='"old"', cut=HALF), serves(BODY, etag='"new"')) as server:
        get(server)
        assert len(server.requests) == 2


def test_a_server_without_versions_cannot_stitch_either(get):
    cut = raw(status("200 OK", Content_Length=len(BODY)) + bytes(HALF))
    with Server(cut, serves(BODY), serves(BODY)) as server:
        get(server)
        starts = [request.start for request in server.requests]
        assert starts == [0, HALF, 0]  # the digest showed that the halves do not fit


@pytest.mark.parametrize("left", [b"a login page", bytes(len(BODY)), bytes(len(BODY) + 9)])
def test_a_wrong_part_from_another_time_is_dropped(get, tmp_path, left):
    (tmp_path / ".file.part").write_bytes(left)
    with Server(serves(BODY)) as server:
        get(server)
        assert server.requests[-1].start == 0


def test_a_complete_part_is_not_asked_for_again(get, tmp_path):
    (tmp_path / ".file.part").write_bytes(BODY)
    with Server(serves(BODY)) as server:
        get(server)
        assert server.requests == []


def test_trouble_that_passes(get):
    with Server(says("503 Service Unavailable"), says("502 Bad Gateway"), serves(BODY)) as server:
        get(server)
        assert len(server.requests) == 3


def test_trouble_that_stays(get, tmp_path):
    with Server(says("503 Service Unavailable")) as server:
        refused(get, server, "the server says 503 Service Unavailable", "(tried 3 times)")
        assert len(server.requests) == 3
    assert os.listdir(tmp_path) == []


def test_a_server_that_is_not_there(get, tmp_path):
    with Server() as server:
        pass
    refused(get, server, "Connection refused", "(tried 3 times)")
    assert os.listdir(tmp_path) == []


def test_a_server_that_stalls_is_cut_off(get, tmp_path):
    short = Patience(timeout=0.1, attempts=2, pause=0)

    def halting(connection, request):
        serves(BODY, cut=HALF)(connection, request)
        server.closing.wait(60)

    with Server() as server:
        server.answers = [halting, serves(BODY)]
        get(server, short)
        assert [request.start for request in server.requests] == [0, HALF]
        os.remove(tmp_path / "file")
        server.answers = [server.stall]
        refused(get, server, "does not answer, or sends nothing more", patience=short)
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("lie", "parts"),
    [
        (says("200 OK", BODY[:-1]), ["wanted a file of 300000 bytes, got one of 299999"]),
        (says("200 OK", BODY + b"!"), ["got one of 300001"]),
        (says("200 OK"), ["got one of 0"]),
        (says("200 OK", bytes(300_000)), [f"of sha256 {SHA256}, got 300000 bytes of sha256 "]),
        (says("200 OK", b"<html>Sign in", Content_Type="text/html"), ["got a web page"]),
        (says("404 Not Found", b"?"), ["the server says 404 Not Found"]),
        (says("403 Forbidden"), ["403 Forbidden"]),
        (says("204 No Content"), ["204 No Content"]),
        (raw(status("200 OK") + bytes(400_000)), ["got more than 300000 bytes"]),
    ],
)
def test_lies_end_in_one_error_and_leave_nothing(get, tmp_path, lie, parts):
    with Server(lie) as server:
        refused(get, server, *parts)
        assert len(server.requests) == 1
    assert os.listdir(tmp_path) == []


def test_a_body_without_end(get, tmp_path):
    def endless(connection, request):
        connection.sendall(status("200 OK"))
        while not server.closing.is_set():
            connection.sendall(bytes(65536))

    with Server() as server:
        server.answers = [endless]
        refused(get, server, "wanted 300000 bytes of sha256", "got more than 300000 bytes")
    assert os.listdir(tmp_path) == []


def test_a_body_of_unknown_length(get, tmp_path):
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (BODY[:99], BODY[99:], b""))
    for answer in (
        raw(status("200 OK") + BODY),
        raw(status("200 OK", Transfer_Encoding="chunked") + chunks),
    ):
        with Server(answer) as server:
            assert get(server)[-1] == (len(BODY), len(BODY))
        (tmp_path / "file").unlink()


def test_a_lie_about_the_file_leaves_the_part_that_was_right(get, tmp_path):
    (tmp_path / ".file.part").write_bytes(BODY[:HALF])
    wrong = says("206 Partial Content", b"!", Content_Range=f"bytes {HALF}-{HALF}/{HALF + 1}")
    with Server(wrong, serves(BODY)) as server:
        refused(get, server, f"wanted a file of 300000 bytes, got one of {HALF + 1}")
        assert (tmp_path / ".file.part").read_bytes() == BODY[:HALF]
        get(server)


def test_redirections_are_followed(get):
    with (
        Server(says("302 Found", Location="elsewhere"), serves(BODY, cut=HALF)) as near,
        Server(serves(BODY)) as far,
    ):
        near.answers += [says("307 Temporary Redirect", Location=f"{far.url}/mirror")]
        get(near)
        assert [request.path for request in near.requests] == ["/file", "/elsewhere", "/file"]
        assert [(request.path, request.start) for request in far.requests] == [("/mirror", HALF)]


@pytest.mark.parametrize(
    ("location", "part"),
    [
        ("file:///etc/passwd", "it redirects elsewhere: an address must begin with http:// or"),
        ("ftp://example.org/file", "got ftp://example.org/file"),
        ("data:,hello", "got data:,hello"),
        ("http://[::1", "it redirects elsewhere"),
        ("/file", "it redirects more than 10 times"),
        ("", "the server says 302 Found"),
    ],
)
def test_redirections_that_lead_nowhere(get, tmp_path, location, part):
    with Server(says("302 Found", Location=location)) as server:
        refused(get, server, part)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "address",
    ["ftp://example.org/a", "file:///etc/passwd", "/etc/passwd", "", "http://", "http://[::1",
     "http://example.org:port/"],
)  # fmt: skip
def test_what_is_no_web_address(tmp_path, address):
    with pytest.raises(DataError, match="address"):
        fetch(address, tmp_path / "file", sha256=SHA256, size=9)
    assert os.listdir(tmp_path) == []


def test_an_address_that_cannot_be_sent(get, tmp_path):
    with Server(serves(BODY)) as server:
        for page in ("/a b", "/ä", "/a\r\nX-Injected: b"):
            with pytest.raises(DataError, match="is no address of a file"):
                get(server, page=page)
        assert server.requests == []
    assert os.listdir(tmp_path) == []


SMALL = BODY[:2000]
MISBEHAVIOUR = st.one_of(
    st.integers(0, len(SMALL)).map(lambda cut: serves(SMALL, cut=cut)),
    st.integers(0, len(SMALL)).map(lambda cut: serves(SMALL, etag='"2"', cut=cut)),
    st.integers(0, len(SMALL)).map(lambda cut: serves(bytes(len(SMALL)), etag='"3"', cut=cut - 1)),
    st.integers(0, len(SMALL)).map(
        lambda cut: raw(status("200 OK", Content_Length=len(SMALL)) + SMALL[:cut])
    ),
    st.sampled_from(
        [
            says("500 Internal Server Error"),
            says("416 Range Not Satisfiable"),
            says("206 Partial Content", SMALL[3:], Content_Range="bytes 3-1999/2000"),
            raw(b"nonsense\r\n\r\n"),
            raw(b""),
        ]
    ),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(MISBEHAVIOUR, max_size=6), st.binary(max_size=2100))
def test_whatever_went_wrong_before_the_right_bytes_come_in_the_end(tmp_path, answers, left):
    """However a server fails, in whatever order, an honest one afterwards gives the file."""
    path = tmp_path / "file"
    path.unlink(missing_ok=True)
    (tmp_path / ".file.part").write_bytes(left)
    digest = hashlib.sha256(SMALL).hexdigest()
    patient = Patience(timeout=5, attempts=len(answers) + 3, pause=0)
    with Server(*answers, serves(SMALL)) as server:
        for _ in range(len(answers) + 1):  # a straight lie ends a call
            try:
                fetch(server.url, path, sha256=digest, size=len(SMALL), patience=patient)
                break
            except DataError:
                assert not path.exists()
    assert path.read_bytes() == SMALL
    assert os.listdir(tmp_path) == ["file"]


def test_too_little_room_is_said_before_anything_is_asked(tmp_path):
    with Server(serves(BODY)) as server:
        with pytest.raises(DataError, match=r"1000000000000000000 bytes are missing, .* free"):
            fetch(server.url, tmp_path / "file", sha256=SHA256, size=10**18)
        assert server.requests == []
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("no folder")
    for path in ("/dev/null/a/b", "/proc/nobody/b", tmp_path / "file" / "b"):
        with pytest.raises(DataError, match=r"^cannot write "):
            fetch("http://127.0.0.1:9", type(tmp_path)(path), sha256=SHA256, size=9)


def test_verify(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(DataError, match=r"cannot read .*file: No such file"):
        verify(path, sha256=SHA256, size=len(BODY))
    path.write_bytes(BODY)
    verify(path, sha256=SHA256, size=len(BODY))
    with pytest.raises(DataError, match="must have 9 bytes, got 300000"):
        verify(path, sha256=SHA256, size=9)
    path.write_bytes(BODY[:-1] + b"!")
    with pytest.raises(DataError, match=f"must have the sha256 {SHA256}, got "):
        verify(path, sha256=SHA256, size=len(BODY))
