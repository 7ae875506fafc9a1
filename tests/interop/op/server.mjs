// The certified `oidc-provider` with two users, for tests/interop.
//
// Its own development pages ask for a name (any password will do) and for
// consent. Its defaults stay as they are wherever the settings do not say
// otherwise, since those are what is to be met: PKCE, claims only from userinfo.
//
// usage: node server.mjs PORT SETTINGS_JSON
//
// PUT /people/NAME/groups, with a JSON list, is the directory behind it.

import { generateKeyPairSync } from 'node:crypto';
import Provider from 'oidc-provider';

const [port, settings] = process.argv.slice(2);
const { clients, requires_pushed_requests: pushed = false, rotates_refresh_tokens: rotates = false } = JSON.parse(settings);

const users = {
  alice: { email: 'alice@example.com', email_verified: true, name: 'Alice Example', groups: ['engineering', 'ops'] },
  bob: { email: 'bob@example.com', email_verified: true, name: 'Bob Example', groups: [] },
};

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients,
  claims: {
    openid: ['sub'],
    email: ['email', 'email_verified'],
    profile: ['name', 'preferred_username'],
    groups: ['groups'],
  },
  cookies: { keys: ['only for tests on this machine'] },
  features: {
    backchannelLogout: { enabled: true },
    devInteractions: { enabled: true },
    ...(pushed && { pushedAuthorizationRequests: { enabled: true, requirePushedAuthorizationRequests: true } }),
    revocation: { enabled: true },
    rpInitiatedLogout: { enabled: true },
  },
  // To whom may have one, without the scope offline_access: what it stands for is not wanted here.
  issueRefreshToken: (_context, client) => client.grantTypeAllowed('refresh_token'),
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: 'interop', use: 'sig', alg: 'RS256' }] },
  // Without the guard against addresses of the machine's own network: PassProxy is there.
  fetch: (url, { dispatcher: _guard, ...options }) => fetch(url, options),
  findAccount: (_context, id) =>
    users[id] && { accountId: id, claims: () => ({ sub: id, preferred_username: id, ...users[id] }) },
  ...(rotates && { rotateRefreshToken: true }),
});

provider.use(async (context, next) => {
  const [, name] = /^\/people\/(\w+)\/groups$/.exec(context.path) ?? [];
  if (context.method !== 'PUT' || !users[name]) return next();
  const body = [];
  for await (const piece of context.req) body.push(piece);
  users[name].groups = JSON.parse(Buffer.concat(body).toString());
  context.status = 204;
});

provider.on('backchannel.error', (_context, error, client) =>
  console.error(`back-channel logout of ${client.clientId} failed: ${error.message} ${error.cause ?? ''}`));

provider.listen(Number(port), '127.0.0.1');
