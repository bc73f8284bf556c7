#!/bin/sh
# Makes the certificates that the tests use. They are good from 2020 to 2120;
# nothing but the tests trusts them.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
: > "$work/index.txt"
cat > "$work/ca.conf" <<END
[ca]
default_ca = it
[it]
database = $work/index.txt
new_certs_dir = $work
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any
copy_extensions = copy
[any]
commonName = supplied
[authority]
basicConstraints = critical, CA:TRUE
[leaf]
basicConstraints = CA:FALSE
END

# issue NAME SUBJECT END ARGUMENTS OF `openssl ca`...
issue() {
    name=$1 subject=$2 end=$3
    shift 3
    openssl ecparam -name prime256v1 -genkey -noout |
        openssl pkcs8 -topk8 -nocrypt -out "$name.key"
    openssl req -new -key "$name.key" -subj "/CN=$subject" $names -out "$work/$name.csr"
    openssl ca -batch -notext -config "$work/ca.conf" -in "$work/$name.csr" \
        -startdate 20200101000000Z -enddate "$end" "$@" -out "$name.pem"
}

names=
issue authority "an authority" 21200101000000Z -selfsign -keyfile authority.key -extensions authority
# It is called as the one before, and has another key.
issue namesake "an authority" 21200101000000Z -selfsign -keyfile namesake.key -extensions authority
rm namesake.key
# Without extensions it is X.509 version 1.
issue v1 v1 21200101000000Z -selfsign -keyfile v1.key
# An authority of its own, as `openssl req -x509` makes it.
names="-addext subjectAltName=DNS:a.example"
issue own own 21200101000000Z -selfsign -keyfile own.key -extensions authority
issue expired own 20210101000000Z -selfsign -keyfile expired.key -extensions authority
names="-addext subjectAltName=DNS:a.example,DNS:*.b.example,IP:127.0.0.9"
issue leaf leaf 21200101000000Z -cert authority.pem -keyfile authority.key -extensions leaf
rm authority.key
