import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Authenticator, jwtAuthenticator, nkeyAuthenticator, nkeys } from 'nats'
import { ConfigError } from '../../shared/config.ts'
import type { Logger } from '../../shared/logger.ts'
import { newBoxKeys, openSealed, publicKeyOf } from '../../shared/sealed-box.ts'
import { type NatsTls, natsTls, readSeed } from '../../shared/wire/nats-credentials.ts'
import type { AgentConfig } from '../config.ts'
import { KeptCredentials, type KeptFile, keptFile, PendingKeys } from './kept-credentials.ts'

/** The key that NATS knows us by now, and how we change over to another one. */
export interface RenewableKey {
  publicKey(): string
  /** Between these two moments, in milliseconds since the epoch, the credential holds. */
  life(): { readonly fromMs: number; readonly untilMs: number }
  /** Kept on disk first; used from the next connection on. */
  change(next: { readonly jwt: string; readonly seed: Uint8Array }): void
}

/** Who we are to NATS. */
export interface Identity {
  readonly urls: string | readonly string[]
  readonly tls: NatsTls
  readonly authenticator: Authenticator | undefined
  /** Undefined where NATS is told of us by its own configuration. */
  readonly key: RenewableKey | undefined
  /** Opens what the control plane sealed for this host; undefined where it has no key to seal for. */
  readonly unseal: ((sealed: Buffer, context: string) => Buffer) | undefined
}

/** Finds this host's credentials, or gets some with the enrolment token. @throws EnrolmentRefused, ConfigError. */
export async function openIdentity(config: AgentConfig, logger: Logger): Promise<Identity> {
  const file = keptFile(join(config.HOLDFAST_AGENT_STATE, 'credentials.json'), KeptCredentials)
  const found = file.read()
  const token = enrolmentToken(config)
  const isNew = token !== undefined && hashOf(token) !== found?.token_hash
  const kept = isNew ? await enrolOrKeep({ config, token, file, found, logger }) : found
  if (kept !== undefined) return enrolledIdentity(config, file, kept)
  if (config.NATS_URL === undefined) {
    throw new ConfigError(
      'configuration is not usable:\n  this host is not enrolled: set HOLDFAST_ENROL_URL and HOLDFAST_ENROL_TOKEN_FILE, or NATS_URL',
    )
  }
  const authenticator = config.NATS_SEED_FILE ? nkeyAuthenticator(readSeed(config.NATS_SEED_FILE)) : undefined
  return { urls: config.NATS_URL, tls: natsTls(config), authenticator, key: undefined, unseal: undefined }
}

/** The file may go once it has served. */
function enrolmentToken({ HOLDFAST_ENROL_URL, HOLDFAST_ENROL_TOKEN_FILE: file }: AgentConfig): string | undefined {
  if (HOLDFAST_ENROL_URL === undefined || file === undefined || !existsSync(file)) return undefined
  return readFileSync(file, 'utf8').trim() || undefined
}

interface Enrolling {
  readonly config: AgentConfig
  readonly token: string
  readonly file: KeptFile<KeptCredentials>
  readonly found: KeptCredentials | undefined
  readonly logger: Logger
}

/** A token that is refused does no harm to a host that has credentials already. */
async function enrolOrKeep({ config, token, file, found, logger }: Enrolling): Promise<KeptCredentials> {
  const { enrol, EnrolmentRefused } = await import('./enrol.ts')
  const pending = keptFile(join(config.HOLDFAST_AGENT_STATE, 'enrolment.json'), PendingKeys)
  const before = pending.read()
  const keys = before?.token_hash === hashOf(token) ? before : newKeys(token)
  pending.write(keys)
  const body = {
    token,
    name: config.HOLDFAST_AGENT_NAME,
    nats_public_key: nkeys.fromSeed(bytesOf(keys.seed)).getPublicKey(),
    seal_public_key: publicKeyOf(Buffer.from(keys.seal_private_key, 'base64')).toString('base64'),
  }
  // as: the configuration has it whenever there is a token
  const address = { url: config.HOLDFAST_ENROL_URL as string, caFile: config.HOLDFAST_ENROL_CA_FILE }
  try {
    const { host, nats_urls, ca, jwt } = await enrol(address, body, logger)
    const kept = { ...keys, host, nats_urls, jwt, ...(ca === undefined ? {} : { ca }) }
    file.write(kept)
    pending.remove()
    logger.info({ event: 'host.enrolled', host, publicKey: body.nats_public_key })
    return kept
  } catch (error) {
    if (found === undefined || !(error instanceof EnrolmentRefused)) throw error
    logger.warn({ event: 'host.enrolment_refused', error: error.message })
    return found
  }
}

function newKeys(token: string): PendingKeys {
  return {
    seed: new TextDecoder().decode(nkeys.createUser().getSeed()),
    seal_private_key: newBoxKeys().privateKey.toString('base64'),
    token_hash: hashOf(token),
  }
}

function enrolledIdentity(config: AgentConfig, file: KeptFile<KeptCredentials>, found: KeptCredentials): Identity {
  let kept = found
  const { NATS_CA_FILE } = config
  return {
    urls: config.NATS_URL ?? kept.nats_urls,
    tls: { ...natsTls(config), ...(NATS_CA_FILE === undefined ? { ca: kept.ca } : {}) },
    // Asked at every connection: the key may have changed since the last.
    authenticator: (nonce) => jwtAuthenticator(kept.jwt, bytesOf(kept.seed))(nonce),
    unseal: (sealed, context) => openSealed(Buffer.from(kept.seal_private_key, 'base64'), sealed, context),
    key: {
      publicKey: () => nkeys.fromSeed(bytesOf(kept.seed)).getPublicKey(),
      life: () => lifeOf(kept.jwt),
      change({ jwt, seed }) {
        const changed = { ...kept, jwt, seed: new TextDecoder().decode(seed) }
        file.write(changed)
        kept = changed
      },
    },
  }
}

/** Written by our control plane, whose word NATS checks; we only read two numbers of it. */
function lifeOf(jwt: string): { readonly fromMs: number; readonly untilMs: number } {
  // as: every credential has both (RFC 7519), in seconds
  const claims = JSON.parse(Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString()) as {
    iat: number
    exp: number
  }
  return { fromMs: claims.iat * 1000, untilMs: claims.exp * 1000 }
}

function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('hex')
}
