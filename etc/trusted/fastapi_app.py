"""
FastAPI behind a proxy that signs.

    pip install fastapi 'uvicorn[standard]' 'PyJWT[crypto]'
    export TRUSTED_PROXY_PRESET=passproxy TRUSTED_PROXY_ISSUER=https://app.example.com
    uvicorn --app-dir etc/trusted --host 127.0.0.1 --port 3000 fastapi_app:app
"""

import os
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request, WebSocket

from passproxy.trusted import Identity, settings_from
from passproxy.trusted.asgi import TrustedProxyMiddleware

app = FastAPI()
# Read here, so that the application does not start without them.
app.add_middleware(TrustedProxyMiddleware, settings_from(os.environ))


def current_user(request: Request) -> Identity:
    return request.state.user


User = Annotated[Identity, Depends(current_user)]


def administrator(user: User) -> Identity:
    if "administrator" not in user.roles:
        raise HTTPException(status_code=403)
    return user


@app.get("/")
def home(user: User) -> dict[str, object]:
    return {"user": user.user, "email": user.email, "groups": user.groups}


@app.get("/admin")
def admin(user: Annotated[Identity, Depends(administrator)]) -> dict[str, object]:
    return {"administrator": user.user}


@app.websocket("/ws")
async def ws(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_json({"user": socket.state.user.user})
    await socket.close()
