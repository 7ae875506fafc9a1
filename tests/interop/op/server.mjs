// The certified `oidc-provider` with two users and one client, for tests/interop.
//
// Its own development pages ask for a name (any password will do) and for
// consent; its defaults stay untouched, since those are what is to be met:
// PKCE required, claims only from userinfo, rotating nothing.
//
// usage: node server.mjs PORT CLIENT_JSON

import { generateKeyPairSync } from 'node:crypto';
import Provider from 'oidc-provider';

const [port, client] = process.argv.slice(2);

const users = {
  alice: { email: 'alice@example.com', email_verified: true, name: 'Alice Example', groups: ['engineering', 'ops'] },
  bob: { email: 'bob@example.com', email_verified: true, name: 'Bob Example', groups: [] },
};

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [JSON.parse(client)],
  claims: {
    openid: ['sub'],
    email: ['email', 'email_verified'],
    profile: ['name', 'preferred_username'],
    groups: ['groups'],
  },
  cookies: { keys: ['only for tests on this machine'] },
  features: { devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true } },
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: 'interop', use: 'sig', alg: 'RS256' }] },
  findAccount: (_context, id) =>
    users[id] && { accountId: id, claims: () => ({ sub: id, preferred_username: id, ...users[id] }) },
});

provider.listen(Number(port), '127.0.0.1');
