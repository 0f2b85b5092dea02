import { hash } from 'node:crypto'
import type { NatsConnection } from 'nats'
import { FleetError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import { addressRange } from '../core/address-range.ts'
import { createEnrolments, type Enrolments } from '../core/enrolments.ts'
import { createHosts, type Hosts } from '../core/hosts.ts'
import type { Sql } from '../db/sql.ts'
import type { ChangeStore } from '../db/stores/change-store.ts'
import type { Committed } from '../db/stores/change-write.ts'
import type { CredentialKeys } from '../db/stores/credential-keys-store.ts'
import { createEnrolmentStore } from '../db/stores/enrolment-store.ts'
import type { HostStore } from '../db/stores/host-store.ts'
import { createLoginFailureStore } from '../db/stores/login-failure-store.ts'
import { createRemovalStore } from '../db/stores/removal-store.ts'
import { openCredentialDesk } from './credential-desk.ts'
import type { OpenAuthority } from './open-authority.ts'
import { createRemoval } from './removal.ts'

/** Failed enrolments from one address. A token cannot be guessed; this is for our own peace. */
const FAILURES_MAX = 20
const WINDOW_S = 60

/** What may be done to hosts, and what it takes to keep it so. */
export interface OpenHosts {
  readonly hosts: Hosts
  readonly enrolments: Enrolments
  /** Sees that NATS and Postgres agree about who is out, and clears up after removed hosts. */
  tick(): Promise<void>
  stop(): void
}

export function openHosts(deps: {
  readonly sql: Sql
  readonly nats: NatsConnection
  readonly store: HostStore
  readonly keys: CredentialKeys
  readonly changes: ChangeStore
  /** Absent: NATS is somebody else's. */
  readonly authority: OpenAuthority | undefined
  readonly onChanged: (host: string) => void
  readonly reload: (host: string) => Promise<void>
  readonly afterCommit: (committed: Committed) => void
  readonly logger: Logger
}): OpenHosts {
  const { sql, store, changes, authority, reload, afterCommit, logger } = deps
  const desk = authority && openCredentialDesk({ ...deps, issuer: authority.issuer })
  const enforce = async () => authority?.issuer.enforce()
  const removal = createRemoval({ store: createRemovalStore(sql), changes, afterCommit, enforce })
  const hosts = createHosts({
    reader: store,
    removal,
    reload,
    async tell(host, state) {
      afterCommit(await changes.tell([{ type: `host.${state}`, jobId: null, groupId: null, body: { host, state } }]))
    },
  })
  const enrolments = createEnrolments({
    store: createEnrolmentStore(sql),
    issuer: authority && desk && { ...authority.issuer, askToRotate: desk.askToRotate },
    async get(idOrName) {
      const host = await store.find(idOrName)
      if (host === undefined) throw new FleetError('not_found', `there is no host '${idOrName}'`)
      return host
    },
    limit: createLimit(sql),
  })
  return {
    hosts,
    enrolments,
    async tick() {
      await authority?.claims.check()
      const cleared = await removal.clear()
      if (Object.values(cleared).some((count) => count > 0)) logger.info({ event: 'host.cleared', ...cleared })
    },
    stop: () => desk?.stop(),
  }
}

/** A try counts as failed until it has succeeded, over all replicas together. */
function createLimit(sql: Sql) {
  const failures = createLoginFailureStore(sql)
  const keyOf = (address: string) => hash('sha256', JSON.stringify(['enrol', addressRange(address)]), 'hex')
  return {
    async begin(address: string) {
      const { noted } = await failures.note(keyOf(address), { max: FAILURES_MAX, windowS: WINDOW_S })
      if (!noted) throw new FleetError('busy', 'too many enrolments from here have failed; try again in a minute')
    },
    succeed: (address: string) => failures.forgetLast(keyOf(address)),
  }
}
