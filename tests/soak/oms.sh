#!/bin/sh
# signatures against the reference: ours accepted by `model_signing verify key`, its own by us; the BOM by a strict CycloneDX validator
set -eu
python=${TENET_ORACLE_PYTHON:-python3}
tenet=$(cd "$1" && pwd)/tenet
golden=$(pwd)/tests/golden/families/llama
"$python" -c 'import model_signing, OpenSSL' 2>/dev/null || { echo "needs: pip install model-signing pyopenssl 'cyclonedx-python-lib[json-validation]' (TENET_ORACLE_PYTHON names the python)"; exit 77; }
cd "$2"
export TENET_STORE="$2/store" TENET_KEY_PASSPHRASE=pass
"$tenet" key new lab --quiet > lab.pem
"$tenet" release --model "$golden" --out ours --key lab --quiet
"$python" -m model_signing verify key --public_key lab.pem --signature ours/model.sig ours
openssl pkcs8 -in store/identity/lab.pem -passin env:TENET_KEY_PASSPHRASE -out plain.pem
cp -r "$golden" theirs
mkdir theirs/a && echo x > theirs/a/x && echo y > theirs/a-b
"$python" -m model_signing sign key --private_key plain.pem --signature theirs/model.sig theirs
"$tenet" verify theirs --key lab.pem
echo z >> theirs/a-b
"$tenet" verify theirs --key lab.pem && exit 1 || [ $? -eq 3 ]
"$python" - ours/bom.cdx.json <<'PY'
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
sys.exit(f"bom.cdx.json: {error}" if error else 0)
PY
echo "signatures accepted both ways; bom.cdx.json is valid CycloneDX 1.6"
