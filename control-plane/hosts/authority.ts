import { readFileSync } from 'node:fs'
import { decode, encodeAccount, encodeOperator, encodeUser } from '@nats-io/jwt'
import { nkeys } from 'nats'
import { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'
import { agentPermissions } from '../../shared/wire/agent-permissions.ts'

const seed = (kind: 'O' | 'A') =>
  z.string().regex(new RegExp(`^S${kind}[A-Z2-7]{56}$`), 'must be the seed of a signing key')
const Account = z.object({ public_key: z.string().regex(/^A[A-Z2-7]{55}$/), signing_seed: seed('A') })

/** What the control plane must hold to let agents in and out: signing keys, never the identities themselves. */
export const AuthorityKeys = z.object({ operator_signing_seed: seed('O'), fleet: Account, system: Account })
export type AuthorityKeys = z.infer<typeof AuthorityKeys>

/** The file that `NATS_AUTHORITY_FILE` names. @throws invalid, without a word of what it holds. */
export function readAuthority(file: string): AuthorityKeys {
  try {
    return AuthorityKeys.parse(JSON.parse(readFileSync(file, 'utf8')))
  } catch (error) {
    const why =
      error instanceof z.ZodError ? error.issues.map((issue) => issue.path.join('.')).join(', ') : 'cannot be read'
    throw new FleetError('invalid', `NATS_AUTHORITY_FILE: ${why}`)
  }
}

/** Absent limits count as 0, which shows as time-outs. */
const NO_LIMIT = -1
const USER_LIMITS = { data: NO_LIMIT, payload: NO_LIMIT, subs: NO_LIMIT }
const ACCOUNT_LIMITS = {
  ...USER_LIMITS,
  imports: NO_LIMIT,
  exports: NO_LIMIT,
  wildcards: true,
  conn: NO_LIMIT,
  leaf: NO_LIMIT,
}
const JETSTREAM_LIMITS = { mem_storage: NO_LIMIT, disk_storage: NO_LIMIT, streams: NO_LIMIT, consumer: NO_LIMIT }

/** Public key → when the last credential that it may have ends, in seconds since the epoch. */
export type Revocations = Readonly<Record<string, number>>

/** A user that lives only as long as this process: its key is nowhere else. */
export interface OwnUser {
  readonly jwt: string
  readonly seed: Uint8Array
}

const CLAIMS_UPDATE = '$SYS.REQ.CLAIMS.UPDATE'

/** Issues the credentials that NATS believes. */
export interface Authority {
  /** Where the account's claims are sent to and asked for, by the system user. */
  readonly updateSubject: string
  readonly lookupSubject: string
  agentCredential(agent: {
    readonly host: string
    readonly publicKey: string
    readonly expiresAt: Date
  }): Promise<string>
  /** All rights in the fleet's account, for the control plane itself. */
  fleetUser(): Promise<OwnUser>
  /** May replace accounts' claims, and nothing else. */
  systemUser(): Promise<OwnUser>
  /** The fleet's account, signed by its operator. */
  accountClaims(revocations: Revocations): Promise<string>
  /** What the server holds now. */
  revocationsIn(claims: string): Revocations
}

const ClaimsBody = z.object({ nats: z.object({ revocations: z.record(z.string(), z.number()).default({}) }) })

export function createAuthority(keys: AuthorityKeys): Authority {
  const signer = (text: string) => nkeys.fromSeed(new TextEncoder().encode(text))
  const { fleet, system } = keys

  async function ownUser(name: string, account: AuthorityKeys['fleet'], publish?: readonly string[]): Promise<OwnUser> {
    const user = nkeys.createUser()
    const rights = publish && { pub: { allow: [...publish] }, sub: { allow: ['_INBOX.>'] } }
    const jwt = await encodeUser(
      name,
      nkeys.fromPublic(user.getPublicKey()),
      nkeys.fromPublic(account.public_key),
      { ...USER_LIMITS, ...rights },
      { signer: signer(account.signing_seed) },
    )
    return { jwt, seed: user.getSeed() }
  }

  const lookupSubject = `$SYS.REQ.ACCOUNT.${fleet.public_key}.CLAIMS.LOOKUP`

  return {
    updateSubject: CLAIMS_UPDATE,
    lookupSubject,

    agentCredential({ host, publicKey, expiresAt }) {
      const { publish, subscribe } = agentPermissions(host, publicKey)
      return encodeUser(
        host,
        nkeys.fromPublic(publicKey),
        nkeys.fromPublic(fleet.public_key),
        { ...USER_LIMITS, pub: { allow: [...publish] }, sub: { allow: [...subscribe] }, resp: { max: 1, ttl: 0 } },
        { signer: signer(fleet.signing_seed), exp: Math.floor(expiresAt.getTime() / 1000) },
      )
    },

    fleetUser: () => ownUser('control-plane', fleet),
    systemUser: () => ownUser('control-plane', system, [CLAIMS_UPDATE, lookupSubject]),

    accountClaims: (revocations) =>
      fleetClaims(fleet.public_key, signer(fleet.signing_seed).getPublicKey(), {
        revocations,
        operator: keys.operator_signing_seed,
      }),

    revocationsIn: (claims) => ClaimsBody.parse(decode(claims)).nats.revocations,
  }
}

function fleetClaims(
  account: string,
  signingKey: string,
  made: { readonly revocations: Revocations; readonly operator: string },
): Promise<string> {
  return encodeAccount(
    'holdfast',
    nkeys.fromPublic(account),
    {
      limits: { ...ACCOUNT_LIMITS, ...JETSTREAM_LIMITS },
      signing_keys: [signingKey],
      revocations: { ...made.revocations },
    },
    { signer: made.operator },
  )
}

/** A new operator with its two accounts. */
export interface NewAuthority {
  readonly keys: AuthorityKeys
  /** The identities: needed by nobody while nothing goes wrong, and the only way to replace the signing keys. */
  readonly identities: { readonly operator: string; readonly fleet: string; readonly system: string }
  /** Lines of nats-server's configuration that make it believe this operator. */
  readonly configuration: string
}

export async function newAuthority(): Promise<NewAuthority> {
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
  const [operator, operatorSigner] = [nkeys.createOperator(), nkeys.createOperator()]
  const [fleet, fleetSigner] = [nkeys.createAccount(), nkeys.createAccount()]
  const [system, systemSigner] = [nkeys.createAccount(), nkeys.createAccount()]
  const keys: AuthorityKeys = {
    operator_signing_seed: text(operatorSigner.getSeed()),
    fleet: { public_key: fleet.getPublicKey(), signing_seed: text(fleetSigner.getSeed()) },
    system: { public_key: system.getPublicKey(), signing_seed: text(systemSigner.getSeed()) },
  }
  const systemClaims = await encodeAccount(
    'system',
    nkeys.fromPublic(keys.system.public_key),
    { limits: ACCOUNT_LIMITS, signing_keys: [systemSigner.getPublicKey()] },
    { signer: operatorSigner },
  )
  const operatorClaims = await encodeOperator('holdfast', operator, {
    signing_keys: [operatorSigner.getPublicKey()],
    system_account: keys.system.public_key,
  })
  const claims = await createAuthority(keys).accountClaims({})
  return {
    keys,
    identities: {
      operator: text(operator.getSeed()),
      fleet: text(fleet.getSeed()),
      system: text(system.getSeed()),
    },
    // A server that holds newer claims of an account keeps them.
    configuration: [
      `operator: "${operatorClaims}"`,
      'resolver_preload: {',
      `  ${keys.fleet.public_key}: "${claims}"`,
      `  ${keys.system.public_key}: "${systemClaims}"`,
      '}',
      '',
    ].join('\n'),
  }
}
