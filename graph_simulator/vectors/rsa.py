"""RSA from a seed: keys, certificates, OAEP and PSS, without any other randomness. For tests only.

`cryptography` does the operations that are deterministic by themselves (RS256, encoding of keys).
"""

import hashlib
import math
from datetime import datetime
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.x509.oid import NameOID

from graph_simulator.vectors.derivation import Draw

EXPONENT = 65_537
_ROUNDS = 4
_SIEVE_TO = 50_000
_WINDOW = 8_192


def derived_key(draw: Draw, bits: int = 2048) -> RSAPrivateKey:
    """Return the key that a stream of octets determines; takes about half a second."""
    p, q = _prime(draw, bits // 2), _prime(draw, bits // 2)
    if p < q:
        p, q = q, p
    private = pow(EXPONENT, -1, math.lcm(p - 1, q - 1))
    public = rsa.RSAPublicNumbers(EXPONENT, p * q)
    return rsa.RSAPrivateNumbers(
        p, q, private, private % (p - 1), private % (q - 1), pow(q, -1, p), public
    ).private_key()


def certificate(key: RSAPrivateKey, name: str, serial: int, begins: datetime, ends: datetime) -> x509.Certificate:
    """Return a self-signed certificate; its signature, PKCS#1 v1.5, needs no randomness."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(begins)
        .not_valid_after(ends)
        .sign(key, hashes.SHA256())
    )


def encrypt_oaep(plain: bytes, key: RSAPublicKey, seed: bytes, digest: str = "sha1") -> bytes:
    """Return RSAES-OAEP of `plain` with an empty label (RFC 8017, section 7.1.1).

    `seed`: as many octets as the digest has; one `digest`, SHA-1 for Graph, serves the label and MGF1.
    """
    size = (key.key_size + 7) // 8
    label = hashlib.new(digest, usedforsecurity=False).digest()
    block = label + bytes(size - len(plain) - 2 * len(label) - 2) + b"\x01" + plain
    masked = _xor(block, _mgf1(seed, len(block), digest))
    masked_seed = _xor(seed, _mgf1(masked, len(seed), digest))
    numbers = key.public_numbers()
    return pow(int.from_bytes(masked_seed + masked, "big"), numbers.e, numbers.n).to_bytes(size, "big")


def sign_pss(message: bytes, key: RSAPrivateKey, salt: bytes) -> bytes:
    """Return RSASSA-PSS of `message` with SHA-256 (RFC 8017, section 8.1.1), as PS256 of RFC 7518 has it."""
    numbers = key.private_numbers()
    modulus = numbers.public_numbers.n
    bits = modulus.bit_length() - 1
    size = (bits + 7) // 8
    digest = hashlib.sha256(bytes(8) + hashlib.sha256(message).digest() + salt).digest()
    block = bytes(size - len(salt) - len(digest) - 2) + b"\x01" + salt
    masked = bytearray(_xor(block, _mgf1(digest, len(block), "sha256")))
    masked[0] &= 0xFF >> (8 * size - bits)
    encoded = int.from_bytes(bytes(masked) + digest + b"\xbc", "big")
    return pow(encoded, numbers.d, modulus).to_bytes((modulus.bit_length() + 7) // 8, "big")


def _mgf1(seed: bytes, size: int, digest: str) -> bytes:
    blocks = b""
    while len(blocks) < size:
        counter = (len(blocks) // hashlib.new(digest).digest_size).to_bytes(4, "big")
        blocks += hashlib.new(digest, seed + counter, usedforsecurity=False).digest()
    return blocks[:size]


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _prime(draw: Draw, bits: int) -> int:
    """Return the first suitable prime from a drawn number on; its two highest bits are set."""
    start = int.from_bytes(draw.octets(bits // 8), "big") | (3 << (bits - 2)) | 1
    while True:
        for candidate in _sieved(start):
            if math.gcd(candidate - 1, EXPONENT) == 1 and _is_prime(candidate):
                return candidate
        start += 2 * _WINDOW


def _sieved(start: int) -> list[int]:
    """Return the numbers among the next odd ones that no small prime divides."""
    left = bytearray(b"\x01") * _WINDOW
    for prime in _small_primes():
        first = (-start * ((prime + 1) // 2)) % prime  # start + 2 * first is a multiple of the prime
        left[first::prime] = bytes(len(range(first, _WINDOW, prime)))
    return [start + 2 * place for place in range(_WINDOW) if left[place]]


@cache
def _small_primes() -> tuple[int, ...]:
    left = bytearray(b"\x01") * _SIEVE_TO
    for number in range(3, math.isqrt(_SIEVE_TO) + 1, 2):
        if left[number]:
            left[number * number :: number] = bytes(len(range(number * number, _SIEVE_TO, number)))
    return tuple(number for number in range(3, _SIEVE_TO, 2) if left[number])


def _is_prime(number: int) -> bool:
    """Miller-Rabin with fixed bases: enough for numbers that no attacker chose."""
    odd = number - 1
    twos = (odd & -odd).bit_length() - 1
    odd >>= twos
    return all(_passes(number, odd, twos, base) for base in (2, *_small_primes()[: _ROUNDS - 1]))


def _passes(number: int, odd: int, twos: int, base: int) -> bool:
    power = pow(base, odd, number)
    if power in (1, number - 1):
        return True
    for _ in range(twos - 1):
        power = power * power % number
        if power == number - 1:
            return True
    return False
