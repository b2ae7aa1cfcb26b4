"""Where the appliance is that a test has booted, and how to speak to it."""

import hashlib
import os
import ssl
import tempfile
from urllib.parse import urlsplit

URL = os.environ["AIOS_URL"]
TOKEN = os.environ["AIOS_TOKEN"]
PLACE = urlsplit(URL)

# The certificate that a person has compared is the only one that is believed.
_pem = ssl.get_server_certificate((PLACE.hostname, PLACE.port))
_found = hashlib.sha256(ssl.PEM_cert_to_DER_cert(_pem)).hexdigest().upper()
assert _found == os.environ["AIOS_FINGERPRINT"].replace(":", "")
with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
    file.write(_pem)
    file.flush()
    TLS = ssl.create_default_context(cafile=file.name)
