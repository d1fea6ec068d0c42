"""Which URLs and addresses a webhook may go to: a corpus of known ways inside, and properties."""

import contextlib
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.core.targets import Rules, Target, check_url, is_allowed
from app.errors import TargetRefused


def rules(*networks: str, allow_http: bool = False, ports: tuple[int, ...] = (443, 80)) -> Rules:
    return Rules(allow_http, tuple(ip_network(network) for network in networks), frozenset(ports))


STRICT = rules()
HTTP = rules(allow_http=True)

REFUSED = [
    # -- no URL of ours
    ("", "absolute", "nothing at all"),
    ("hooks.example.com/a", "absolute", "no scheme"),
    ("//hooks.example.com/a", "absolute", "no scheme, but an authority"),
    ("https:hooks.example.com", "absolute", "no authority; WHATWG readers add one"),
    ("https:/hooks.example.com", "absolute", "one slash; WHATWG readers add the other"),
    ("https:///hooks.example.com", "no host", "three slashes; WHATWG readers drop one"),
    ("https://", "no host", "no host"),
    ("https://:443/", "no host", "a port alone"),
    ("https://./", "no host", "a dot alone"),
    ("https://?x=1", "no host", "a query alone"),
    ("ftp://hooks.example.com/", "not https", "another scheme"),
    ("file:///etc/passwd", "not https", "a file"),
    ("gopher://hooks.example.com:443/_x", "not https", "a scheme that smuggles other protocols"),
    ("javascript://hooks.example.com/%0aalert(1)", "not https", "a scheme of pages"),
    ("http://hooks.example.com/", "WEBHOOK_ALLOW_HTTP", "http where https is asked for"),
    # -- two readers, two readings
    ("https://user@hooks.example.com/", "user name", "user info"),
    ("https://user:password@hooks.example.com/", "user name", "credentials would stand in lists and logs"),
    ("https://@hooks.example.com/", "user name", "empty user info"),
    ("https://hooks.example.com:443@10.0.0.1/", "user name", "a host that is user info in truth"),
    ("https://hooks.example.com&@10.0.0.1#@x.example.com/", "fragment", "three readers, three hosts (Orange Tsai)"),
    ("https://hooks.example.com/#part", "fragment", "a fragment never leaves"),
    ("https://hooks.example.com/#", "fragment", "an empty fragment"),
    ("https://10.0.0.1\\@hooks.example.com/", "backslash", "a slash to browsers, user info to others"),
    ("https:\\\\hooks.example.com\\", "backslash", "slashes to browsers"),
    (" https://hooks.example.com/", "white space", "white space in front"),
    ("https://hooks.example.com/ ", "white space", "white space behind"),
    ("https://hooks.example.com/a b", "white space", "a second request line"),
    ("https://hooks.example.com/\r\nX-Evil: 1", "white space", "header injection"),
    ("https://hooks.example.com/\thttps", "white space", "WHATWG readers drop tabs"),
    ("https://hooks.example.com\x00.evil.example/", "control", "C libraries stop at NUL"),
    ("https://hooks.example.com/\x7f", "control", "DEL"),
    ("https://hooks.example.com/\u202egpj.exe", "control", "text that runs backwards"),
    ("https://hooks.example.com/\ud800", "control", "half a surrogate pair"),
    ("https://hooks\u00a0.example.com/", "white space", "a no-break space"),
    # -- ports
    ("https://hooks.example.com:22/", "port 22", "a port nobody allowed"),
    ("https://hooks.example.com:8443/", "port 8443", "a port nobody allowed"),
    ("https://hooks.example.com:0/", "port 0", "no port at all"),
    ("https://hooks.example.com:65979/", "port 65979", "443 after an overflow of 16 bits"),
    ("https://hooks.example.com:4294967739/", "no port", "443 after an overflow of 32 bits"),
    ("https://hooks.example.com:-443/", "host and port", "a sign"),
    ("https://hooks.example.com:443:443/", "host and port", "two ports"),
    ("https://hooks.example.com:443abc/", "host and port", "a port with a tail"),
    ("https://hooks.example.com:\uff14\uff14\uff13/", "host and port", "full-width digits of a port"),
    # -- hosts that are no names
    ("https://hooks..example.com/", "valid name", "an empty label"),
    ("https://hooks.example.com../", "valid name", "two dots at the end"),
    ("https://-hooks.example.com/", "valid name", "a hyphen in front"),
    (f"https://{'a' * 64}.example.com/", "valid name", "a label over 63 characters"),
    (f"https://{'a.' * 126}com/", "valid name", "a name over 253 characters"),
    (f"https://{'é' * 300}.example/", "valid name", "an international name over 253 characters"),
    (f"https://hooks.example.com/{'a' * 2048}", "2048", "an over-long URL"),
    ("https://hooks.example.com%2f@10.0.0.1/", "user name", "a slash in disguise"),
    ("https://%31%32%37.0.0.1/", "valid name", "digits in disguise"),
    ("https://hooks.example.com%00.evil.example/", "valid name", "NUL in disguise"),
    ("https://hooks_é\u2100.example/", "valid", "a sign that normalises to a/c, with its slash"),
    ("https://evil\uff0fhooks.example.com/", "valid", "a full-width slash"),
    ("https://\u00ad/", "control", "a soft hyphen, which normalises to nothing"),
    ("https://\u034f/", "international name", "a joiner of graphemes, which normalises to nothing"),
    ("https://xn--/\u0080", "control", "C1 control characters"),
    ("https://[::1/", "host and port", "half a bracket"),
    ("https://[hooks.example.com]/", "unreadable address", "a name in brackets"),
    ("https://[]/", "unreadable address", "nothing in brackets"),
    ("https://[127.0.0.1]/", "unreadable address", "IPv4 in brackets"),
    ("https://[v1.fe80]/", "unreadable address", "the address of a future version"),
    # -- names that mean this machine or its neighbours
    ("https://localhost/", "this machine", "this machine"),
    ("https://LOCALHOST/", "this machine", "in capitals"),
    ("https://localhost./", "this machine", "with the dot of the root"),
    ("https://\uff4cocalhost/", "this machine", "with a full-width letter"),
    ("https://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3/", "this machine", "in circled letters"),
    ("https://a.localhost/", "this machine", "RFC 6761: every name below it"),
    ("https://localhost.localdomain/", "this machine", "an entry of many hosts files"),
    ("https://ip6-localhost/", "this machine", "an entry of many hosts files"),
    ("https://intranet/", "local network", "a single label: search domains decide"),
    ("https://printer.local/", "local network", "multicast DNS"),
    ("https://metadata.google.internal/computeMetadata/v1/", "local network", "a cloud's metadata service"),
    ("https://router.home.arpa/", "local network", "RFC 8375"),
    # -- IPv4, plainly
    ("https://127.0.0.1/", "loopback", "loopback"),
    ("https://127.255.255.254/", "loopback", "all of 127/8 is loopback"),
    ("https://127.0.0.1./", "loopback", "with the dot of the root"),
    ("https://0.0.0.0/", "unspecified", "this machine, on Linux"),
    ("https://10.1.2.3/", "private", "private"),
    ("https://172.31.255.255/", "private", "private"),
    ("https://192.168.0.1/", "private", "private"),
    ("https://100.100.100.200/", "CGNAT", "a cloud's metadata service in CGNAT space"),
    ("https://169.254.169.254/latest/meta-data/", "link-local", "the clouds' metadata service"),
    ("https://168.63.129.16/", "metadata", "a metadata service on an address that looks public"),
    ("https://192.0.0.192/", "reserved", "a cloud's metadata service in IETF space"),
    ("https://192.0.2.1/", "documentation", "documentation"),
    ("https://198.19.0.1/", "benchmarks", "benchmarks"),
    ("https://192.88.99.1/", "6to4", "the nearest 6to4 relay"),
    ("https://224.0.0.251/", "multicast", "multicast"),
    ("https://240.0.0.1/", "reserved", "reserved"),
    ("https://255.255.255.255/", "broadcast", "everybody here"),
    # -- IPv4, in disguise
    ("https://2130706433/", "write 127.0.0.1", "decimal"),
    ("https://0x7f000001/", "write 127.0.0.1", "hexadecimal"),
    ("https://0X7F.0.0.1/", "write 127.0.0.1", "hexadecimal in parts"),
    ("https://017700000001/", "write 127.0.0.1", "octal"),
    ("https://0177.0.0.1/", "write 127.0.0.1", "octal in parts; 177.0.0.1 to some"),
    ("https://127.1/", "write 127.0.0.1", "short"),
    ("https://127.0.1/", "write 127.0.0.1", "short"),
    ("https://0/", "write 0.0.0.0", "very short"),
    ("https://134744072/", "write 8.8.8.8", "public, but not what people write"),
    ("https://08.8.8.8/", "no plain IPv4", "an octal 8"),
    ("https://0x/", "no plain IPv4", "hexadecimal without digits"),
    ("https://256.0.0.1/", "no plain IPv4", "256"),
    ("https://1.2.3.4.5/", "no plain IPv4", "five parts"),
    ("https://hooks.example.123/", "no plain IPv4", "ends in a number, so WHATWG readers take it for an address"),
    ("https://4294967296/", "no plain IPv4", "one more than fits"),
    ("https://\uff11\uff12\uff17.\uff10.\uff10.\uff11/", "loopback", "full-width digits"),
    ("https://127\u30020\u30020\u30021/", "loopback", "ideographic full stops"),
    ("https://127\uff0e0\uff0e0\uff0e1/", "loopback", "full-width full stops"),
    ("https://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/", "loopback", "circled digits"),
    ("https://\u00b9\u2070.1.2.3/", "private", "superscript digits"),
    # -- IPv6
    ("https://[::1]/", "loopback", "loopback"),
    ("https://[0:0:0:0:0:0:0:1]/", "loopback", "loopback at length"),
    ("https://[::]/", "unspecified", "this machine, on Linux"),
    ("https://[fe80::1]/", "link-local", "link-local"),
    ("https://[fe80::1%25eth0]/", "zone id", "a zone id"),
    ("https://[2606:4700::1111%25lo]/", "zone id", "a zone id on a public address"),
    ("https://[fd00:ec2::254]/", "private", "a cloud's metadata service"),
    ("https://[fec0::1]/", "reserved", "site-local, deprecated"),
    ("https://[ff02::1]/", "multicast", "multicast"),
    ("https://[::ffff:127.0.0.1]/", "loopback", "v4-mapped"),
    ("https://[::ffff:a9fe:a9fe]/", "link-local", "v4-mapped in hexadecimal: metadata"),
    ("https://[::127.0.0.1]/", "reserved", "v4-compatible, deprecated"),
    ("https://[::ffff:0:127.0.0.1]/", "reserved", "v4-translated"),
    ("https://[64:ff9b::10.0.0.1]/", "private", "NAT64"),
    ("https://[64:ff9b:1::10.0.0.1]/", "reserved", "NAT64 of the local network"),
    ("https://[2002:7f00:1::]/", "6to4", "6to4 of loopback"),
    ("https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/", "Teredo", "Teredo"),
    ("https://[2001:db8::1]/", "documentation", "documentation"),
    ("https://[3fff::1]/", "documentation", "documentation"),
    ("https://[100::1]/", "reserved", "the black hole"),
    ("https://[5f00::1]/", "reserved", "segment routing"),
]  # fmt: skip


@pytest.mark.parametrize(("url", "because", "way"), REFUSED, ids=[f"{url!a:.48} {way}" for url, _, way in REFUSED])
def test_a_url_that_can_never_pass_is_refused(url: str, because: str, way: str) -> None:
    with pytest.raises(TargetRefused) as caught:
        check_url(url, STRICT)
    assert because in caught.value.detail
    assert [fault.pointer for fault in caught.value.faults] == ["/url"]


SAID = [
    (f"https://hooks.example.com/{'a' * 2048}", "is longer than 2048 characters"),
    ("https://hooks.example.com/a b", "holds white space, a control character or a backslash"),
    ("https://hooks.example.com/#", "has a fragment (#…), which no receiver would ever see"),
    ("hooks.example.com", "is no absolute URL like https://host/path"),
    ("https://a@hooks.example.com", "holds a user name or password; receivers check the signature instead"),
    ("https://hooks.example.com:x", "has no readable host and port"),
    ("http://hooks.example.com", "is not https (WEBHOOK_ALLOW_HTTP is off)"),
    ("ftp://hooks.example.com", "is not https"),
    ("https://hooks.example.com:123456", "has no port between 1 and 65535"),
    ("https://hooks.example.com:22", "goes to port 22; allowed are 80, 443 (WEBHOOK_ALLOWED_PORTS)"),
    ("https://", "has no host"),
    ("https://a..b", "has a host that is no valid name"),
    (f"https://{'é' * 300}", "has a host that is no valid name"),
    ("https://\u034f", "has a host that is no valid international name"),
    ("https://[x]", "has an unreadable address in brackets"),
    ("https://1.2.3.4.5", "has a host that is no plain IPv4 address"),
    ("https://1.2.3.4.0", "has a host that is no plain IPv4 address"),
    ("https://1.2.3.4.5.0", "has a host that is no plain IPv4 address"),
    ("https://127.1", "has a host that is no plain IPv4 address; write 127.0.0.1"),
    (f"https://{'0' * 63}", "has a host that is no plain IPv4 address; write 0.0.0.0"),
    ("https://10.0.0.1", "goes to 10.0.0.1, which is private"),
    ("https://[fe80::1%25lo]", "goes to fe80::1%25lo, which is bound to a network interface (zone id)"),
    ("https://[4000::1]", "goes to 4000::1, which is reserved"),
    ("https://localhost", "goes to localhost, which is this machine"),
    ("https://printer.local", "goes to printer.local, a name that only a local network knows"),
]


@pytest.mark.parametrize(("url", "said"), SAID, ids=[said for _, said in SAID])
def test_a_refusal_says_what_is_wrong(url: str, said: str) -> None:
    with pytest.raises(TargetRefused) as caught:
        check_url(url, STRICT)
    assert [fault.detail for fault in caught.value.faults] == [said]


@pytest.mark.parametrize(
    ("name", "longest", "refused"),
    [
        ("label", "a" * 63 + ".example", "a" * 64 + ".example"),
        ("name", f"{'a.' * 125}com", f"{'a.' * 125}comm"),
        ("port", "hooks.example.com:00443", "hooks.example.com:000443"),
        ("url", "hooks.example.com/".ljust(2040, "a"), "hooks.example.com/".ljust(2041, "a")),
        ("old address", "255.255.65535", "255.255.65536"),
    ],
)
def test_limits_are_kept_to_the_letter(name: str, longest: str, refused: str) -> None:
    if name == "old address":
        with pytest.raises(TargetRefused, match=r"write 255\.255\.255\.255"):
            check_url(f"https://{longest}", STRICT)
    else:
        check_url(f"https://{longest}", STRICT)
    with pytest.raises(TargetRefused) as caught:
        check_url(f"https://{refused}", STRICT)
    assert "write" not in caught.value.detail


PASSED = [
    ("https://hooks.example.com", Target("https", "hooks.example.com", 443, "/")),
    ("HTTPS://Hooks.Example.COM:443/A/b?c=D&e", Target("https", "hooks.example.com", 443, "/A/b?c=D&e")),
    ("https://hooks.example.com:/x", Target("https", "hooks.example.com", 443, "/x")),
    ("https://hooks.example.com./x", Target("https", "hooks.example.com", 443, "/x")),
    ("https://hooks.example.com:80/x", Target("https", "hooks.example.com", 80, "/x")),
    ("https://hooks.example.com?x=1", Target("https", "hooks.example.com", 443, "/?x=1")),
    ("https://hooks.example.com/a%2Fb/../c?u=https://x/?y", Target("https", "hooks.example.com", 443,
                                                                   "/a%2Fb/../c?u=https://x/?y")),
    ("https://hooks.example.com/@x", Target("https", "hooks.example.com", 443, "/@x")),
    ("https://hooks.example.com/ü?ß={1}", Target("https", "hooks.example.com", 443, "/%C3%BC?%C3%9F=%7B1%7D")),
    ("https://my_hooks.example.com/", Target("https", "my_hooks.example.com", 443, "/")),
    ("https://bücher.example/", Target("https", "xn--bcher-kva.example", 443, "/")),
    ("https://BÜCHER\u3002example/", Target("https", "xn--bcher-kva.example", 443, "/")),
    ("https://\uff48ooks.example.com/", Target("https", "hooks.example.com", 443, "/")),
    ("https://127.0.0.1.nip.io/", Target("https", "127.0.0.1.nip.io", 443, "/")),  # its addresses are judged later
    ("https://0x7f.example/", Target("https", "0x7f.example", 443, "/")),
    ("https://8.8.8.8/", Target("https", "8.8.8.8", 443, "/")),
    ("https://[2606:4700:4700::1111]/", Target("https", "2606:4700:4700::1111", 443, "/")),
    ("https://[2606:4700:4700:0:0::1111]/", Target("https", "2606:4700:4700::1111", 443, "/")),
    ("https://[64:ff9b::8.8.8.8]/", Target("https", "64:ff9b::808:808", 443, "/")),
]  # fmt: skip


@pytest.mark.parametrize(("url", "target"), PASSED, ids=[ascii(url) for url, _ in PASSED])
def test_a_url_that_may_pass_is_read_in_one_way(url: str, target: Target) -> None:
    assert check_url(url, STRICT) == target
    assert check_url(target.url, STRICT) == target


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("https://hooks.example.com:443/", "hooks.example.com"),
        ("https://hooks.example.com:80/", "hooks.example.com:80"),
        ("http://hooks.example.com:80/", "hooks.example.com"),
        ("http://hooks.example.com:443/", "hooks.example.com:443"),
        ("https://[2606:4700::1]:80/", "[2606:4700::1]:80"),
    ],
)
def test_the_host_header_names_the_port_where_the_scheme_does_not(url: str, authority: str) -> None:
    assert check_url(url, HTTP).authority == authority


def test_what_the_operator_allows_passes_and_nothing_beside_it() -> None:
    inside = rules("10.1.0.0/16", "fd00:1::/32", allow_http=True, ports=(443, 8080))
    for url in ("http://10.1.2.3:8080/", "https://[fd00:1::5]/", "https://[::ffff:10.1.2.3]/", "https://sink/",
                "https://hooks.corp/"):  # fmt: skip
        check_url(url, inside)
    for url in ("http://10.2.0.1:8080/", "https://[fd00:2::5]/", "http://10.1.2.3/", "https://127.0.0.1/",
                "https://localhost/", "https://167838211/", "https://169.254.169.254/"):  # fmt: skip
        with pytest.raises(TargetRefused):
            check_url(url, inside)


def test_localhost_passes_where_loopback_is_allowed() -> None:
    for network in ("127.0.0.0/8", "::1/128"):
        assert check_url("https://localhost/", rules(network)).host == "localhost"


ALLOWED_ADDRESSES = ["8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0", "11.0.0.0",
                     "126.255.255.255", "128.0.0.0", "169.253.255.255", "223.255.255.255", "198.17.255.255",
                     "2606:4700:4700::1111", "2a00:1450:4001::1", "2001:200::1", "64:ff9b::808:808",
                     "::ffff:8.8.8.8"]  # fmt: skip
REFUSED_ADDRESSES = ["0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255",
                     "127.0.0.1", "169.254.0.0", "169.254.169.254", "172.16.0.0", "172.31.255.255", "192.0.0.8",
                     "192.0.2.255", "192.168.255.255", "198.18.0.0", "198.51.100.1", "203.0.113.1", "224.0.0.1",
                     "239.255.255.255", "240.0.0.0", "255.255.255.255", "::", "::1", "::2", "::ffff:10.0.0.1",
                     "64:ff9b::7f00:1", "64:ff9b:1::1", "fc00::", "fdff::1", "fe80::1", "fe80::1%lo", "fec0::1",
                     "ff0e::1", "2001::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002::1", "2606:4700::1%eth0",
                     "3fff:fff::1", "4000::1", "fe00::1"]  # fmt: skip


@pytest.mark.parametrize("address", ALLOWED_ADDRESSES)
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_allowed(ip_address(address), STRICT)


@pytest.mark.parametrize("address", REFUSED_ADDRESSES)
def test_all_other_addresses_are_not(address: str) -> None:
    assert not is_allowed(ip_address(address), STRICT)


def test_an_allowed_network_allows_its_addresses_in_every_form_but_with_a_zone() -> None:
    own = rules("127.0.0.0/8", "fe80::/10")
    for address in ("127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "fe80::1", "8.8.8.8"):
        assert is_allowed(ip_address(address), own)
    for address in ("10.0.0.1", "::1", "fe80::1%lo"):
        assert not is_allowed(ip_address(address), own)


# -- properties

ADDRESSES = st.ip_addresses()
HOSTS = st.one_of(
    st.text(max_size=20),
    st.text("0123456789abcdefx.", max_size=20),
    st.text("\uff10\uff11\uff12\uff17\u3002\uff0e\u2460.x\uff38\u00ad\u200d", max_size=12),
    ADDRESSES.map(str),
    ADDRESSES.map("[{}]".format),
    st.from_regex(r"\A(xn--)?[a-z0-9-]{1,12}(\.[a-z0-9-]{1,5}){0,3}\.?\Z"),
)
TAILS = st.text(max_size=10)
URLS = st.one_of(
    st.text(),
    st.builds("https://{}{}".format, HOSTS, TAILS),
    st.builds("http://{}:{}/{}".format, HOSTS, st.integers(-1, 70000) | st.text(max_size=5), TAILS),
)


@given(URLS)
@example("https://xn--a\u0301-.example/")
@example("https://\u0660.\u0660/")
def test_every_text_is_a_target_or_refused_and_a_target_is_read_the_same_again(url: str) -> None:
    with contextlib.suppress(TargetRefused):
        target = check_url(url, HTTP)
        assert check_url(target.url, HTTP) == target
        assert target.url.isascii()
        assert not any(char in target.url for char in " \r\n\t\\#@" if char not in target.path)
        assert target.address is None or is_allowed(target.address, HTTP)


@given(st.text("0123456789abcdefx.", min_size=1, max_size=16) | st.integers(0, 2**32 - 1).map(str))
def test_what_the_c_library_takes_for_an_address_is_never_a_name(host: str) -> None:
    """inet_aton is what stands behind getaddrinfo: no spelling it knows may pass for a name."""
    with contextlib.suppress(TargetRefused, OSError):
        address = IPv4Address(socket.inet_aton(host))
        target = check_url(f"https://{host}/", STRICT)
        assert target.address == address
        assert str(address) == host.removesuffix(".")


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_in_all_its_forms(address: IPv4Address) -> None:
    allowed = is_allowed(address, STRICT)
    assert is_allowed(IPv6Address(f"::ffff:{address}"), STRICT) == allowed
    assert is_allowed(IPv6Address(f"64:ff9b::{address}"), STRICT) == allowed


@given(ADDRESSES)
def test_no_address_is_allowed_that_python_calls_private(address: IPv4Address | IPv6Address) -> None:
    """A second opinion: the standard library's own tables."""
    if is_allowed(address, STRICT) and getattr(address, "ipv4_mapped", None) is None:
        assert address.is_global
        assert not address.is_multicast


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://[2606:4700:4700::1111]/a", IPv6Address("2606:4700:4700::1111")),
        ("https://1.1.1.1/a", IPv4Address("1.1.1.1")),
        ("https://hooks.example.com/a", None),
    ],
)
def test_a_target_knows_the_address_it_spells(url: str, address: IPv4Address | IPv6Address | None) -> None:
    assert check_url(url, STRICT).address == address
