#!/bin/sh
# Makes the fixtures of this folder anew with the openssl command, version 3.
# The keys are made here, used once, and protect nothing. See README.md.
set -eu
cd "$(dirname "$0")"
out=$PWD
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

cat >ca.cnf <<'CNF'
[ca]
default_ca = d
[d]
dir = .
database = ./index.txt
new_certs_dir = .
serial = ./serial
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
organizationName = optional
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature,keyEncipherment
extendedKeyUsage = serverAuth,clientAuth
subjectAltName = DNS:crm9.dynamics.com
[server]
basicConstraints = CA:FALSE
extendedKeyUsage = serverAuth
[encipher]
basicConstraints = CA:FALSE
keyUsage = critical,keyEncipherment
[plain]
basicConstraints = CA:FALSE
[empty]
CNF
: >index.txt
echo 1000 >serial

key() { openssl genrsa -out "$1.key" "${2:-2048}" 2>/dev/null; }
csr() { openssl req -new -key "$2.key" -subj "$3" -out "$1.csr"; }
# issue NAME ISSUER EXTENSIONS FROM UNTIL: signs NAME.csr.
issue() {
	openssl ca -batch -notext -config ca.cnf -in "$1.csr" -out "$1.pem" -cert "$2.pem" -keyfile "$2.key" \
		-extensions "$3" -startdate "$4" -enddate "$5" 2>/dev/null
}

key root; csr root root "/CN=Test Root/O=Crossfade"
openssl ca -batch -notext -selfsign -config ca.cnf -in root.csr -out root.pem -keyfile root.key \
	-extensions root -startdate 20140101000000Z -enddate 20340101000000Z 2>/dev/null
key inter; csr inter inter "/CN=Test Issuer/O=Crossfade"; issue inter root root 20140101000000Z 20340101000000Z

# The two certificates of a rotation as in KB 3200643: the new one becomes valid
# on 2016-11-04 01:00 UTC, while the old one still is.
key old; csr old old "/CN=crm9.dynamics.com"; issue old inter leaf 20141105000000Z 20161130000000Z
key new; csr new new "/CN=crm9.dynamics.com"; issue new inter leaf 20161104010000Z 20181104010000Z
csr samekey old "/CN=crm9.dynamics.com"; issue samekey inter leaf 20161104010000Z 20181104010000Z
key late 2048; csr late late "/CN=crm9.dynamics.com"; issue late inter leaf 20161201000000Z 20181201000000Z
key other; csr other other "/CN=crm.dynamics.com"; issue other inter leaf 20161104010000Z 20181104010000Z

key weak 1024; csr rsa1024 weak "/CN=rsa1024"; issue rsa1024 root plain 20160101000000Z 20260101000000Z
openssl ecparam -name prime256v1 -genkey -noout -out ec.key; csr ec ec "/CN=ec"; issue ec root plain 20160101000000Z 20260101000000Z
openssl genpkey -algorithm ed25519 -out ed.key; csr ed25519 ed "/CN=ed25519"; issue ed25519 root plain 20160101000000Z 20260101000000Z
csr server new "/CN=server only"; issue server root server 20160101000000Z 20260101000000Z
csr encipher new "/CN=encipher only"; issue encipher root encipher 20160101000000Z 20260101000000Z

# An authority of old, which is not marked as one, and what it issued.
key unmarked; csr unmarked unmarked "/CN=Unmarked Issuer"; issue unmarked root plain 20140101000000Z 20340101000000Z
csr below new "/CN=below"; issue below unmarked leaf 20161104010000Z 20181104010000Z
cat unmarked.pem below.pem >chain-unmarked.pem

# Signed over SHA-1 and MD5, with a negative serial number, and as `req -x509`
# makes one, marked as an authority's. These begin on the day they are made.
self() { openssl req -x509 -new -key new.key -days 3650 "$@"; }
self -sha1 -subj /CN=sha1 -addext basicConstraints=CA:FALSE -out sha1.pem
self -md5 -subj /CN=md5 -addext basicConstraints=CA:FALSE -out md5.pem
self -sha256 -subj /CN=negative -set_serial -5 -out negative-serial.pem
self -sha256 -subj /CN=selfsigned -out selfsigned.pem
openssl crl2pkcs7 -nocrl -certfile negative-serial.pem -out negative-serial.p7b.pem

cat root.pem new.pem inter.pem >chain.pem
cat old.pem new.pem >two-leaves.pem
cat root.pem inter.pem >authorities.pem
openssl crl2pkcs7 -nocrl -certfile chain.pem -out chain.p7b.pem
openssl crl2pkcs7 -nocrl -certfile chain.pem -outform DER | openssl base64 >chain.p7b.b64
openssl crl2pkcs7 -nocrl -out empty.p7b.pem
openssl x509 -in new.pem -trustout -addtrust clientAuth -setalias crm9 -out trusted.pem
cp new.csr request.pem

# What must be refused. A small key keeps these short.
cat rsa1024.pem >key-after.pem; openssl rsa -in weak.key -traditional >>key-after.pem 2>/dev/null
openssl pkcs8 -topk8 -nocrypt -in weak.key >key-before.pem; cat rsa1024.pem >>key-before.pem
openssl pkcs8 -topk8 -v2 aes-256-cbc -passout pass:x -in weak.key -out key-encrypted.pem
openssl rsa -in weak.key -traditional -aes128 -passout pass:x -out key-encrypted-old.pem 2>/dev/null
openssl ec -in ec.key -out key-ec.pem 2>/dev/null
openssl pkcs12 -export -inkey weak.key -in rsa1024.pem -passout pass:x | openssl base64 >key.pfx.b64
openssl pkcs12 -export -legacy -inkey weak.key -in rsa1024.pem -passout pass:x | openssl base64 >key-legacy.pfx.b64
openssl pkcs12 -export -nokeys -in rsa1024.pem -passout pass:x | openssl base64 >keyless.pfx.b64
openssl pkcs12 -export -inkey weak.key -in rsa1024.pem -name crm9 -passout pass:x -out w.pfx
openssl pkcs12 -in w.pfx -nokeys -passin pass:x -out bag.pem

for f in root inter old new samekey late other rsa1024 ec ed25519 server encipher sha1 md5 negative-serial selfsigned \
	negative-serial.p7b chain chain-unmarked two-leaves authorities chain.p7b empty.p7b trusted request \
	key-after key-before key-encrypted key-encrypted-old key-ec bag; do
	cp "$f.pem" "$out/$f.pem"
done
cp ./*.b64 "$out"
