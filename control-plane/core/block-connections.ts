import { randomBytes } from 'node:crypto'
import { FleetError } from '../../shared/errors.ts'
import { ConnectorRequest } from './block-requests.ts'
import type { BlockVolumeRow } from './block-store.ts'
import type { BlockConnection } from './block-volumes.ts'
import type { Caller } from './caller.ts'
import { checkRequest } from './check-request.ts'
import type { ExportInfo, ExportReader, Exports } from './exports.ts'
import type { Jobs } from './jobs.ts'

/** Until an export stands or is gone. */
const WAIT_MS = 25_000
/** Together 16 characters: initiators take 12 to 16. */
const SECRET_BYTES = 12

/** Of the block API's own export of a volume. */
function blockWwnOf(volumeId: string): string {
  return `iqn.2026-01.org.holdfast:volume-${volumeId}`
}

interface AskedInitiator {
  readonly initiator: string
  readonly host?: string | undefined
  /** Absent: it may write. */
  readonly isReadonly?: boolean | undefined
}

/** What initiators are let in by: one export a volume, to one initiator, with a CHAP secret of its own. */
export function createBlockConnections(deps: {
  readonly exports: Pick<Exports, 'create' | 'remove' | 'batch' | 'get'>
  readonly exportReader: Pick<ExportReader, 'find'>
  readonly jobs: Pick<Jobs, 'settled'>
  /** The CHAP secret of an export, as it is kept; undefined where it has none. */
  readonly secretOf: (exported: Pick<ExportInfo, 'id' | 'wwn'>) => Promise<string | undefined>
}) {
  const { exports, exportReader, jobs, secretOf } = deps

  /** Waits for a list of one element. @throws what became of it, where it failed */
  async function settled(
    caller: Caller,
    { batchId, jobIds: [jobId] }: { readonly batchId: string; readonly jobIds: readonly string[] },
    signal: AbortSignal,
  ): Promise<void> {
    if (jobId !== undefined) await jobs.settled(jobId, { timeoutMs: WAIT_MS, signal })
    const { errors } = await exports.batch(caller, batchId)
    const [failure] = errors
    if (failure === undefined) return
    const message = failure.message.replace(/^clones\[0\]\.?/, '')
    // as: elements fail with FleetErrors' own codes
    throw new FleetError(failure.code as FleetError['code'], message)
  }

  async function told(
    caller: Caller,
    wwn: string,
    auth: { readonly username: string; readonly password: string } | null,
  ): Promise<BlockConnection> {
    const { live } = await exports.get(caller, wwn)
    if (live === undefined) throw new FleetError('unavailable', 'the host of the volume does not answer just now')
    return { targetIqn: wwn, portal: live.portal, lun: live.lun, auth }
  }

  /** The same initiator is told again what it was told: it may be logged in already. */
  async function again(caller: Caller, kept: ExportInfo): Promise<BlockConnection | undefined> {
    if (kept.state !== 'available') return undefined
    const { wwn, chapUser: username } = kept
    if (username === null) return told(caller, wwn, null)
    const password = await secretOf(kept)
    return password === undefined ? undefined : told(caller, wwn, { username, password })
  }

  return {
    async initialize(
      caller: Caller,
      { id, path }: Pick<BlockVolumeRow, 'id' | 'path'>,
      connector: AskedInitiator,
      signal: AbortSignal,
    ): Promise<BlockConnection> {
      const { initiator } = checkRequest(ConnectorRequest, connector)
      const { isReadonly = false } = connector
      const wwn = blockWwnOf(id)
      const kept = await exportReader.find(caller.groupId, wwn)
      if (kept !== undefined && kept.state !== 'deleting') {
        if (kept.initiators.length !== 1 || kept.initiators[0] !== initiator) {
          throw new FleetError('conflict', `volume ${id} is connected to ${kept.initiators.join(', ')}`, {
            blockers: kept.initiators,
          })
        }
        if (kept.isReadonly !== isReadonly) {
          const how = kept.isReadonly ? 'to be read' : 'to be written to'
          throw new FleetError('conflict', `volume ${id} is connected ${how}; end that connection first`)
        }
        const connection = await again(caller, kept)
        if (connection !== undefined) return connection
      }
      const auth = {
        username: randomBytes(SECRET_BYTES).toString('base64url'),
        password: randomBytes(SECRET_BYTES).toString('base64url'),
      }
      const chap = { user: auth.username, secret: auth.password }
      const wanted = [{ volume: path, wwn, initiators: [initiator], chap, isSole: true, isReadonly }]
      await settled(caller, await exports.create(caller, wanted, { isWaited: true }), signal)
      return told(caller, wwn, auth)
    },

    /** Of the connection that stands; undefined where it asks for none. */
    async secret(groupId: string, volumeId: string): Promise<string | undefined> {
      const kept = await exportReader.find(groupId, blockWwnOf(volumeId))
      return kept?.state === 'available' && kept.chapUser !== null ? secretOf(kept) : undefined
    },

    /** Absent is removed already, and so is one of another initiator. @throws conflict while it is logged in, without `force` */
    async terminate(
      caller: Caller,
      { id, path }: Pick<BlockVolumeRow, 'id' | 'path'>,
      given: { readonly initiator?: string | undefined; readonly force?: boolean | undefined },
      signal: AbortSignal,
    ): Promise<void> {
      const wwn = blockWwnOf(id)
      const kept = await exportReader.find(caller.groupId, wwn)
      if (kept === undefined) return
      const { initiator, force = false } = given
      if (initiator !== undefined && !kept.initiators.includes(initiator.toLowerCase())) return
      const asked = [{ volume: path, wwn, force }]
      await settled(caller, await exports.remove(caller, asked, { isWaited: true }), signal)
    },
  }
}
export type BlockConnections = ReturnType<typeof createBlockConnections>
