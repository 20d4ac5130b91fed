#!/bin/sh
# make_oms_certificate.sh - tests/golden/provenance/certificate: a directory signed with a certificate by the reference implementation
# (pip install model-signing; TENET_ORACLE_PYTHON names the python), and certificates that should and should not be trusted.
set -eu
python=${TENET_ORACLE_PYTHON:-python3}
out=$(cd "$(dirname "$0")/../golden/provenance" && pwd)/certificate
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$out" && mkdir -p "$out/toy/sub"
cd "$work"
ca() { # NAME: a root that signs certificates for a century
    openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
    openssl req -x509 -new -key "$1.key" -subj "/CN=$1" -days 36500 -out "$1.pem" -addext keyUsage=critical,keyCertSign -addext basicConstraints=critical,CA:true 2>/dev/null
}
leaf() { # NAME DAYS USAGE
    openssl ecparam -name secp384r1 -genkey -noout -out "$1.key"
    openssl req -new -key "$1.key" -subj "/CN=$1" -out "$1.csr" 2>/dev/null
    printf '%s\nbasicConstraints=CA:false\n' "$3" >ext
    openssl x509 -req -in "$1.csr" -CA root.pem -CAkey root.key -CAcreateserial -days "$2" -extfile ext -out "$1.pem" 2>/dev/null
}
ca root
ca other
leaf signer 36500 keyUsage=digitalSignature
leaf server 36500 keyUsage=keyEncipherment
printf 'tenet\n' >"$out/toy/a.txt"
printf '\000\001\002\003' >"$out/toy/sub/w.bin"
for who in signer server; do
    "$python" -m model_signing sign certificate --private_key $who.key --signing_certificate $who.pem --certificate_chain root.pem \
        --signature "$out/$who.sig" "$out/toy" >/dev/null || echo "the reference does not sign with $who"
done
cp root.pem other.pem "$out/"
