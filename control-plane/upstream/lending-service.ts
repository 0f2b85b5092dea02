import { FleetError } from '../../shared/errors.ts'
import { isCode } from '../core/backup-rules.ts'
import { GIB } from '../core/block-rules.ts'
import type { LendingService, LentSnapshot, LentVolume, LunInitiator } from '../core/lending.ts'
import type { BlockHttp, BlockRequest } from './block-http.ts'
import { lunOf, OneSnapshot, OneVolume, Snapshots, shaped, Volumes } from './block-shapes.ts'
import type { ServiceTokens } from './service-tokens.ts'

/** The block service behind us as it serves ourselves. */
export function createLendingService({
  http,
  tokens,
}: {
  readonly http: BlockHttp
  readonly tokens: ServiceTokens
}): LendingService {
  async function ask(project: string, request: BlockRequest): Promise<unknown> {
    const as = await tokens.of(project)
    try {
      return await http.ask(as, request)
    } catch (error) {
      if (!isCode(error, 'unauthorized')) throw inOurName(error)
      // It may have been revoked: another one, once.
      tokens.dropped(as.token)
      return http.ask(await tokens.of(project), request).catch((again: unknown) => {
        throw inOurName(again)
      })
    }
  }

  const unless = async <Result>(absent: Result, work: Promise<Result>): Promise<Result> =>
    work.catch((error: unknown) => {
      if (isCode(error, 'not_found')) return absent
      throw error
    })

  async function act(project: string, id: string, action: object): Promise<unknown> {
    const path = `volumes/${encodeURIComponent(id)}/action`
    return ask(project, { method: 'POST', path, body: action })
  }

  async function remove(project: string, path: string): Promise<void> {
    await unless(undefined, ask(project, { method: 'DELETE', path }))
  }

  async function volumes(project: string, query: Readonly<Record<string, string>>): Promise<readonly LentVolume[]> {
    const answer = await ask(project, { method: 'GET', path: 'volumes/detail', query: { all_tenants: '1', ...query } })
    return shaped(Volumes, answer).volumes
  }

  return {
    ready: tokens.ready,

    // A service does not look at filters that it does not know: whatever else it lists is none of ours.
    async snapshotsNamed(project, name) {
      const query = { all_tenants: '1', name }
      const { snapshots } = shaped(Snapshots, await ask(project, { method: 'GET', path: 'snapshots/detail', query }))
      return snapshots.filter((one) => one.name === name)
    },

    snapshot: (project, id) =>
      unless<LentSnapshot | undefined>(
        undefined,
        ask(project, { method: 'GET', path: `snapshots/${encodeURIComponent(id)}` }).then(
          (answer) => shaped(OneSnapshot, answer).snapshot,
        ),
      ),

    async makeSnapshot(project, { name, volumeId }) {
      const body = { snapshot: { volume_id: volumeId, name, force: true } }
      await ask(project, { method: 'POST', path: 'snapshots', body })
    },

    deleteSnapshot: (project, id) => remove(project, `snapshots/${encodeURIComponent(id)}`),

    volume: (project, id) =>
      unless<LentVolume | undefined>(
        undefined,
        ask(project, { method: 'GET', path: `volumes/${encodeURIComponent(id)}` }).then(
          (answer) => shaped(OneVolume, answer).volume,
        ),
      ),

    volumesNamed: async (project, name) => (await volumes(project, { name })).filter((one) => one.name === name),

    async volumesMarked(project, { name, value }) {
      const found = await volumes(project, { metadata: JSON.stringify({ [name]: value }) })
      return found.filter((one) => one.metadata[name] === value)
    },

    async makeVolume(project, { name, snapshotId, sizeBytes }) {
      const body = { volume: { name, snapshot_id: snapshotId, size: Math.ceil(sizeBytes / GIB) } }
      await ask(project, { method: 'POST', path: 'volumes', body })
    },

    deleteVolume: (project, id) => remove(project, `volumes/${encodeURIComponent(id)}`),

    async reserve(project, id) {
      await act(project, id, { 'os-reserve': null })
    },

    async unreserve(project, id) {
      await unless<unknown>(undefined, act(project, id, { 'os-unreserve': null }))
    },

    async connect(project, id, who) {
      const answer = await act(project, id, { 'os-initialize_connection': { connector: connectorOf(who) } })
      return lunOf(answer, who.initiator)
    },

    async disconnect(project, id, who) {
      const action = { 'os-terminate_connection': { connector: connectorOf(who) } }
      await unless<unknown>(undefined, act(project, id, action))
    },
  }
}

/** What drivers of volumes are told of who connects. */
function connectorOf({ host, initiator }: LunInitiator) {
  return { initiator, host, multipath: false, platform: 'x86_64', os_type: 'linux', do_local_attach: false }
}

/** What that service says of our own credentials is nothing that a client can mend. */
function inOurName(error: unknown): unknown {
  if (isCode(error, 'unauthorized', 'forbidden')) {
    return new FleetError('refused', `this service may not do that there: ${error.message}`, { cause: error })
  }
  // A state that forbids it.
  return isCode(error, 'invalid') ? new FleetError('conflict', error.message, { cause: error }) : error
}
