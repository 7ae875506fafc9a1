/*
 * Express behind a proxy that signs: what passproxy.trusted does in Python, with the library jose.
 *
 *     npm install express jose
 *     export TRUSTED_PROXY_ISSUER=https://app.example.com
 *     node express_app.mjs
 */

import express from 'express';
import { createRemoteJWKSet, customFetch, errors, jwtVerify } from 'jose';

const HEADER = 'x-passproxy-assertion';
const SECOND = 1000;

/** Between two fetches of the keys, between two in the background, and how long the last ones hold. */
const INTERVAL = 60 * SECOND, REFRESH = 300 * SECOND, STALE_LIMIT = 86400 * SECOND;

/** Plain identity headers: they must not stand beside a verified identity. */
const PLAIN = /^(x-passproxy-.*|x-auth-request-.*|x-forwarded-(user|email|groups|preferred-username|access-token)|(x-)?remote-(user|email|name|groups?))$/;

/** X_User, X.User and X-User are one name to many programs. */
const normalForm = (name) => name.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '');

/** A `fetch` that goes out once a minute at most, whatever asks for it. */
function seldom() {
    let began = -Infinity;
    return async (...request) => {
        if (performance.now() - began < INTERVAL) throw new Error('the keys were asked for within the last minute');
        began = performance.now();
        return fetch(...request);
    };
}

/** The published keys: one fetch for all who wait, a new one every five minutes that nobody waits for. */
function publishedKeys(address) {
    const url = new URL(address);
    if (url.protocol !== 'https:' && !['localhost', '127.0.0.1', '[::1]'].includes(url.hostname)) {
        throw new Error('the address of the keys must be https, or of this machine');
    }
    const keys = createRemoteJWKSet(url, {
        [customFetch]: seldom(), cooldownDuration: INTERVAL, cacheMaxAge: STALE_LIMIT, timeoutDuration: 5 * SECOND,
    });
    let renewed = performance.now();
    return (...header) => {
        if (performance.now() - renewed >= REFRESH) {
            renewed = performance.now();
            keys.reload().catch(() => {});
        }
        return keys(...header);
    };
}

/** Whether it is not the request that is to blame, but that there is nothing to verify it with. */
const isUnavailable = (error) => !(error instanceof errors.JOSEError) || error.code === 'ERR_JOSE_GENERIC'
    || error instanceof errors.JWKSTimeout || error instanceof errors.JWKSInvalid;

/** The one assertion of a request, or an error. */
function assertionOf(request) {
    const names = request.rawHeaders.filter((name, index) => index % 2 === 0 && normalForm(name) === HEADER);
    if (names.length !== 1 || names[0].toLowerCase() !== HEADER) throw new errors.JWTInvalid('not one assertion');
    return request.headers[HEADER];
}

/**
 * A middleware: `request.user` has the claims of a verified assertion; every other request is refused.
 * It must be the first that is used.
 */
export function trustedProxy(environment = process.env) {
    const issuer = environment.TRUSTED_PROXY_ISSUER;
    if (!issuer) throw new Error('TRUSTED_PROXY_ISSUER is not set');
    const audience = environment.TRUSTED_PROXY_AUDIENCE || issuer;
    const keys = publishedKeys(environment.TRUSTED_PROXY_JWKS_URL || `${issuer}/.passproxy/jwks.json`);
    const rules = {
        issuer, audience, algorithms: ['ES256'], typ: 'passproxy-assertion+jwt',
        clockTolerance: 30, requiredClaims: ['sub', 'iat', 'exp'], maxTokenAge: '1h',
    };
    return async (request, response, next) => {
        try {
            const { payload } = await jwtVerify(assertionOf(request), keys, rules);
            if (payload.aud !== audience || !payload.sub) throw new errors.JWTInvalid('for others too, or about nobody');
            request.user = payload;
        } catch (error) {
            const status = isUnavailable(error) ? 503 : 401;
            const title = status === 503 ? 'Service Unavailable' : 'Unauthorized';
            response.status(status).type('application/problem+json').set('Cache-Control', 'no-store');
            response.send(JSON.stringify({ title, status }));
            return;
        }
        for (const name of Object.keys(request.headers)) {
            if (PLAIN.test(normalForm(name))) delete request.headers[name];
        }
        next();
    };
}

if (process.argv[1] === import.meta.filename) {
    const app = express();
    app.use(trustedProxy());
    app.get('/', ({ user }, response) => response.json({ user: user.user, email: user.email, groups: user.groups }));
    app.get('/admin', ({ user }, response) => {
        if (!user.roles?.includes('administrator')) response.sendStatus(403);
        else response.json({ administrator: user.user });
    });
    app.listen(Number(process.env.PORT || 3000), '127.0.0.1');
}
