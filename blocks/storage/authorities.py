"""The certificates of a store's authority: a file in PEM."""

import ssl
from pathlib import Path


def read_authority(file: str | Path) -> str:
    """The text of a file of certificates.

    Raises:
        ValueError: Why it cannot be used.
    """
    try:
        text = Path(file).read_text(encoding="utf-8")
        # OpenSSL skips what stands around certificates, but Python refuses comments that are not ASCII.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text.encode("ascii", "ignore").decode())
    except (UnicodeDecodeError, ssl.SSLError) as error:
        raise ValueError("it holds no certificate in PEM") from error
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror})") from error
    return text
