"""
Apache as its administrators run it for this: mod_proxy, alone or behind mod_auth_openidc or mod_auth_mellon.

The modules register at the demo's identity provider under the addresses that PassProxy would have, so
that a login there is a real one. Event MPM, one process, no log. Knows nothing of loads.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from benchmarks.browser import HOST
from benchmarks.processes import Failed

MODULES = Path("/usr/lib/apache2/modules")

_ALWAYS = [
    "mpm_event",
    "authn_core",
    "authz_core",
    "authz_user",
    "authz_host",
    "alias",
    "proxy",
    "proxy_http",
    "headers",
    "env",
    "rewrite",
    "dir",
]

_MAIN = """\
ServerName {name_of_server}
UseCanonicalName On
ServerRoot {folder}
PidFile {folder}/{name}.pid
Mutex file:{folder} default
Listen 127.0.0.1:{port}
ErrorLog {folder}/{name}.errors
LogLevel error
{user}
{modules}
StartServers 1
ServerLimit 2
MaxRequestWorkers 128
ThreadsPerChild 128
MaxConnectionsPerChild 0
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 60
ProxyPass "/.passproxy/" "!"
ProxyPass "/" "http://127.0.0.1:{application}/" keepalive=On
ProxyPreserveHost On
{more}
"""

_OPENIDC = """\
OIDCProviderMetadataURL {issuer}/.well-known/openid-configuration
OIDCClientID {client_id}
OIDCClientSecret {client_secret}
OIDCRedirectURI http://{host}/.passproxy/oidc/callback
OIDCCryptoPassphrase {passphrase}
OIDCScope "openid profile email groups"
OIDCPKCEMethod S256
OIDCRemoteUserClaim preferred_username
OIDCSessionInactivityTimeout 3600
{session}
<Location "/">
    AuthType openid-connect
    Require valid-user
    RequestHeader set X-Passproxy-User "expr=%{{REMOTE_USER}}"
</Location>
"""

_MELLON = """\
MellonCacheSize 1000
# Browsers refuse SameSite=None over plain HTTP, which this is.
SetEnv MELLON_DISABLE_SAMESITE 1
RewriteEngine On
RewriteRule "^/\\.passproxy/saml/acs$" "/.passproxy/saml/postResponse" [PT,L]
<Location "/">
    AuthType Mellon
    MellonEnable auth
    Require valid-user
    MellonEndpointPath "/.passproxy/saml"
    MellonSPMetadataFile {folder}/{name}-sp.xml
    MellonSPPrivateKeyFile {folder}/{name}.key
    MellonSPCertFile {folder}/{name}.crt
    MellonIdPMetadataFile {folder}/{name}-idp.xml
    MellonSecureCookie Off
    MellonUser NAME_ID
    RequestHeader set X-Passproxy-User "expr=%{{REMOTE_USER}}"
</Location>
"""

_SP = """\
<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{base}/metadata">
 <SPSSODescriptor AuthnRequestsSigned="false" WantAssertionsSigned="true"
   protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">
  <AssertionConsumerService index="0" isDefault="true"
    Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="{base}/acs"/>
 </SPSSODescriptor>
</EntityDescriptor>
"""


def program() -> str:
    found = shutil.which("apache2", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise Failed("apache2 is not installed")
    return found


def plain(folder: Path, name: str, port: int, application: int) -> list[str]:
    """The command of a proxy that asks nobody who they are."""
    return _command(folder, name, port, application, (), "")


def openidc(folder: Path, name: str, port: int, application: int, idp: Mapping[str, str], *, cookie: bool) -> list[str]:
    """With mod_auth_openidc, its sessions in shared memory or in the client's cookie."""
    session = "OIDCSessionType client-cookie" if cookie else "OIDCSessionType server-cache\nOIDCCacheType shm"
    more = _OPENIDC.format(host=HOST, passphrase=secrets.token_hex(16), session=session, **idp)
    return _command(folder, name, port, application, ("auth_openidc",), more)


def mellon(folder: Path, name: str, port: int, application: int, metadata: bytes) -> list[str]:
    """With mod_auth_mellon; `metadata` is the identity provider's."""
    (folder / f"{name}-idp.xml").write_bytes(metadata)
    (folder / f"{name}-sp.xml").write_text(_SP.format(base=f"http://127.0.0.1:{port}/.passproxy/saml"))
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=benchmark"]
    made = [*command, "-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.crt")]
    subprocess.run(made, check=True, capture_output=True)
    return _command(folder, name, port, application, ("auth_mellon",), _MELLON.format(folder=folder, name=name))


def _command(folder: Path, name: str, port: int, application: int, modules: tuple[str, ...], more: str) -> list[str]:
    lines = []
    for module in (*_ALWAYS, *modules):
        path = MODULES / f"mod_{module}.so"
        if not path.exists():
            raise Failed(f"{path.name} is not installed")
        lines.append(f"LoadModule {module}_module {path}")
    file = folder / f"{name}.conf"
    # Whoever starts as root has to serve as somebody else, who must be able to come here.
    user = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
    folder.chmod(0o755)
    file.write_text(
        _MAIN.format(
            folder=folder,
            name=name,
            # mod_auth_mellon compares hosts too, and the browser has to be on the provider's site: its cookie
            # could cross to another one over HTTPS alone.
            name_of_server=f"127.0.0.1:{port}" if "auth_mellon" in modules else f"{HOST}:80",
            port=port,
            application=application,
            modules="\n".join(lines),
            user=user,
            more=more,
        )
    )
    return [program(), "-D", "FOREGROUND", "-f", str(file)]
