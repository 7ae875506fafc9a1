"""
Flask behind a proxy that signs.

    pip install flask gunicorn 'PyJWT[crypto]'
    export TRUSTED_PROXY_PRESET=passproxy TRUSTED_PROXY_ISSUER=https://app.example.com
    gunicorn --chdir etc/trusted --bind 127.0.0.1:3000 flask_app:app
"""

from flask import Flask, abort, request

from passproxy.trusted import Identity
from passproxy.trusted.wsgi import IDENTITY, TrustedProxyMiddleware

app = Flask(__name__)
app.wsgi_app = TrustedProxyMiddleware(app.wsgi_app)


def current_user() -> Identity:
    return request.environ[IDENTITY]


@app.get("/")
def home() -> dict[str, object]:
    user = current_user()
    return {"user": user.user, "email": user.email, "groups": user.groups}


@app.get("/admin")
def admin() -> dict[str, object]:
    if "administrator" not in current_user().roles:
        abort(403)
    return {"administrator": current_user().user}
