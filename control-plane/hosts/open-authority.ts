import { readFileSync } from 'node:fs'
import { jwtAuthenticator } from 'nats'
import type { Logger } from '../../shared/logger.ts'
import { natsTls, parseNatsUrl } from '../../shared/wire/nats-credentials.ts'
import type { ControlPlaneConfig } from '../config.ts'
import type { CredentialIssuer } from '../core/enrolments.ts'
import type { CredentialKeys } from '../db/stores/credential-keys-store.ts'
import { connectNats } from '../nats.ts'
import { createAuthority, readAuthority } from './authority.ts'
import { type Claims, createClaims } from './claims.ts'

/** NATS whose users we make: ourselves, and every agent. */
export interface OpenAuthority extends AsyncDisposable {
  readonly claims: Claims
  readonly issuer: Omit<CredentialIssuer, 'askToRotate'>
  /** For the connection over which the fleet is served. */
  readonly authenticator: ReturnType<typeof jwtAuthenticator>
}

/** Connects as the system user, and brings the fleet's account up to date before anybody else comes. */
export async function openAuthority(deps: {
  readonly file: string
  readonly config: ControlPlaneConfig
  readonly keys: CredentialKeys
  readonly logger: Logger
}): Promise<OpenAuthority> {
  const { config, keys, logger } = deps
  const authority = createAuthority(readAuthority(deps.file))
  const systemUser = await authority.systemUser()
  const nats = await connectNats({
    url: config.NATS_URL,
    tls: natsTls(config),
    authenticator: jwtAuthenticator(systemUser.jwt, systemUser.seed),
  })
  const claims = createClaims({ nats, authority, keys, logger })
  await claims.push()
  const fleetUser = await authority.fleetUser()
  const given = config.HOLDFAST_AGENT_NATS_URLS.split(',').filter((url) => url !== '')
  return {
    claims,
    authenticator: jwtAuthenticator(fleetUser.jwt, fleetUser.seed),
    issuer: {
      agentCredential: authority.agentCredential,
      nextExpiry: () => new Date(Date.now() + config.HOLDFAST_AGENT_CREDENTIAL_SECONDS * 1000),
      natsUrls: given.length > 0 ? given : [parseNatsUrl(config.NATS_URL).servers],
      ca: config.NATS_CA_FILE === undefined ? undefined : readFileSync(config.NATS_CA_FILE, 'utf8'),
      // Should it fail, the sweep's check does it: what Postgres says stands.
      enforce: () =>
        claims.push().catch((error: unknown) => {
          logger.warn({ event: 'nats.claims_late', error: String(error) })
        }),
    },
    [Symbol.asyncDispose]: () => nats.close(),
  }
}
