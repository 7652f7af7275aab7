"""A commented garr-tcs.ini with every section and every key.

A line that begins with ``#`` and a key can be uncommented as it is; one that begins with ``#or`` stands instead of the
key above it.
"""

TEMPLATE = """\
# garr-tcs.ini: see docs/configuration.md of certbot-garr-tcs. Mode 0600, owned by the user that Certbot runs as.
# Remove the # in front of what you need. Sections may be repeated with other names; [account] stands there once.

# --- The CA, and your account there -----------------------------------------------------------------------------------
#[account]

# The three strings of the CA's portal. HARICA calls the first one "Server URL".
#directory-url = https://acme-v02.harica.gr/acme/<uuid>/directory
#eab-kid = <Key ID>
#eab-hmac-key = <HMAC Key>

# Each secret may stand in a private file of its own instead.
#or eab-kid-file = /etc/letsencrypt/eab-kid
#or eab-hmac-key-file = /etc/letsencrypt/eab-hmac-key

# Where the CA sends messages, and that you agree to its terms of service.
#email = ced@example.it
#agree-tos = yes

# A preset, where directory-url does not say which CA it is: sectigo-ov, sectigo-ev, sectigo-dv and others.
#ca = harica

# Where --dry-run and --staging go. Without it they are refused, since they would take real validations away.
#staging-directory-url = https://acme-staging.example.org/directory
#staging-eab-kid = <Key ID>
#staging-eab-hmac-key = <HMAC Key>
#or staging-eab-kid-file = /etc/letsencrypt/staging-eab-kid
#or staging-eab-hmac-key-file = /etc/letsencrypt/staging-eab-hmac-key

# The kind of key of new certificates: rsa or ecdsa, and the size of an RSA key in bits.
#key-type = rsa
#rsa-key-size = 3072

# --- How to prove control of names that the CA has not validated ------------------------------------------------------
# dns-01 by dynamic update (RFC 2136), for example.it and everything below it.
#[dns-01 example.it]

# The server to update. Default: the primary that the zone's SOA names. Host or address, a port after a colon.
#server = ns-hidden.example.it

# The zone to update. Default: found by SOA.
#zone = example.it

# The TSIG key: a BIND key file as tsig-keygen prints it; tsig-name chooses among several keys of the file.
#tsig-keyfile = /etc/letsencrypt/acme.key

# When a record is published: authoritative (all servers of the zone show it), or one of
#   resolvers 192.0.2.1 192.0.2.2      these resolvers show it
#   seconds 60                         so much time has passed
#propagation = authoritative

# How many seconds to wait for that.
#timeout = 120

# The TSIG key by name and secret; without tsig-algorithm it is hmac-sha256.
#[dns-01 example.com]
#tsig-name = acme
#tsig-secret = <TSIG secret>
#or tsig-secret-file = /etc/letsencrypt/tsig-secret
#tsig-algorithm = hmac-sha512

# Any other Certbot authenticator that is installed; its own options follow, by their full names.
#[http-01 www.example.org]
#via = webroot
#webroot-path = /var/www/html

# --- Where services read their certificate ----------------------------------------------------------------------------
# A service that is known: apache, nginx, postfix, dovecot and others (docs/deploy.md). Your own keys win.
#[deploy mail]
#preset = postfix dovecot
#lineage = mail.example.it

# Everything said key by key; lineage is the name that certbot certificates shows.
#[deploy www]
#lineage = www.example.it

# Which files to write: a path for each that the service wants.
#cert = /srv/tls/www.crt
#chain = /srv/tls/www-chain.pem
#fullchain = /srv/tls/www-fullchain.pem
#key = /srv/tls/www.key

# Several pieces in one file, and their order.
#combined = /srv/tls/www-combined.pem
#combined-order = fullchain key

# A PKCS#12 keystore, with the file that holds its password, and the alias of its entry. Java before 8u301 needs
# pkcs12-legacy = yes.
#pkcs12 = /srv/tls/www.p12
#pkcs12-password-file = /srv/tls/www.p12-password
#pkcs12-alias = www
#pkcs12-legacy = no

# How the private key is written: pkcs8 or traditional.
#key-format = pkcs8

# Owner and modes of the files; key-mode is for those that hold the private key.
#owner = root:ssl-cert
#mode = 0644
#key-mode = 0640

# Whether to make folders that are missing, and to write through symbolic links that root has made.
#mkdir = no
#follow-symlinks = no

# Test the service's configuration, and have it read its files; commands without a shell, and their limit in seconds.
#test = nginx -t
#reload = systemctl reload nginx
#command-timeout = 60

# Where to see that the new certificate is served: TLS, or STARTTLS (smtp, imap, ldap, postgres, none). The name to
# ask for (SNI), and the limit in seconds.
#probe = www.example.it:443
#probe-starttls = none
#probe-name = www.example.it
#probe-timeout = 30
"""
