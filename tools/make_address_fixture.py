#!/usr/bin/env python3
"""What Python's module ipaddress calls public of addresses at the edges of all that is special:
tests/fixtures/http/addresses.tsv, an address and 1 (public) or 0 a line. No network.

    make_address_fixture.py --out tests/fixtures/http/addresses.tsv"""
import argparse
import ipaddress
import pathlib
import random

# The private networks that ipaddress knows, and what it tells by other properties.
EDGES = """0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.168.0.0/16
198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 255.255.255.255/32 ::1/128 ::/128 ::ffff:0:0/96 100::/64
2001::/23 2001:db8::/32 fc00::/7 fe80::/10 fec0::/10 ff00::/8 2000::/3 4000::/3 8000::/1 ::/8""".split()
# Which Spate does not ask either: registries of IANA have them (older versions of Python know parts alone), or they lead
# into IPv4.
STRICTER = """192.0.0.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.175.48.0/24 2002::/16 2620:4f:8000::/48 3fff::/20""".split()


def is_public(address):
    if address.version == 6 and address.ipv4_mapped:
        return is_public(address.ipv4_mapped)
    if any(address in ipaddress.ip_network(n) for n in STRICTER if ipaddress.ip_network(n).version == address.version):
        return False
    if address in ipaddress.ip_network("64:ff9b::/96"):  # NAT64: public as the address of IPv4 within
        return is_public(ipaddress.IPv4Address(int(address) & 0xffffffff))
    return address.is_global and not (address.is_multicast or address.is_reserved or getattr(address, "is_site_local", False))


def edge_addresses():
    for text in EDGES + STRICTER + ["64:ff9b::/96"]:
        network = ipaddress.ip_network(text)
        kind = type(network.network_address)
        first, last = int(network.network_address), int(network.broadcast_address)
        for number in (first - 1, first, first + 1, (first + last) // 2, last - 1, last, last + 1):
            if 0 <= number < 1 << kind(0).max_prefixlen:
                yield kind(number)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, required=True)
    out = parser.parse_args().out
    draw = random.Random(7)
    addresses = set(edge_addresses())
    four = [a for a in addresses if a.version == 4] + [ipaddress.IPv4Address(draw.getrandbits(32)) for _ in range(100)]
    addresses |= set(four)
    addresses |= {ipaddress.IPv6Address(draw.getrandbits(128)) for _ in range(50)}
    addresses |= {ipaddress.IPv6Address(2 << 124 | draw.getrandbits(125)) for _ in range(50)}
    for prefix in ("::ffff:0:0", "64:ff9b::"):  # IPv4 within IPv6
        addresses |= {ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | int(a)) for a in four}
    out.parent.mkdir(parents=True, exist_ok=True)
    ordered = sorted(addresses, key=lambda a: (a.version, int(a)))
    out.write_text("".join(f"{a}\t{int(is_public(a))}\n" for a in ordered))


if __name__ == "__main__":
    main()
