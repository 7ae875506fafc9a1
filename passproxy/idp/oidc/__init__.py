"""
OpenID Connect: PassProxy as a relying party (authorization code flow with PKCE).

    provider.py        the adapter itself: start, finish, run
    discovery.py       what the provider says about itself
    jwks.py            its public keys
    kept.py            how the two are kept fresh without flooding anybody
    client.py          who we are to the provider, and how we prove it
    pushed_request.py  the request goes past the browser, where the provider offers that
    answer.py          what the browser brings back
    token_endpoint.py  the code becomes an ID token, once
    id_token.py        the ID token is judged, all of it
    userinfo.py        further claims, when the ID token lacks some
    overage.py         groups that are elsewhere, when there are too many
    claims.py          claims become attributes
    json_object.py     JSON that cannot be read in two ways
    errors.py          what can go wrong

Everything that decides is a plain function; only provider.py, kept.py,
pushed_request.py, token_endpoint.py, userinfo.py and overage.py await.
"""
