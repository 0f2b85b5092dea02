import { FleetError } from '../../shared/errors.ts'
import { isCode } from '../core/backup-rules.ts'
import type { CallersService, TokenOf } from '../core/lending.ts'
import type { BlockHttp } from './block-http.ts'
import { MadeVolume, OneSnapshot, OneVolume, Snapshots, shaped } from './block-shapes.ts'
import type { CallerTokens } from './caller-tokens.ts'

const TOKEN_MAX_LENGTH = 8_192

/** The block service behind us in the name of a caller: with that one's own token, and none of ours. */
export function createCallersService({
  http,
  tokens,
}: {
  readonly http: BlockHttp
  readonly tokens: CallerTokens
}): CallersService {
  /** @returns undefined where it is not there, or is not shown to this one */
  const found = async <Found>(as: TokenOf, path: string, take: (answer: unknown) => Found) =>
    http.ask(as, { method: 'GET', path }).then(take, (error: unknown) => {
      if (isCode(error, 'not_found')) return undefined
      throw error
    })

  return {
    async projectOf(token) {
      if (token === undefined || token === '' || token.length > TOKEN_MAX_LENGTH) return undefined
      return (await tokens.isOurs(token)) ? undefined : tokens.projectOf(token)
    },

    volume: (as, id) => found(as, `volumes/${encodeURIComponent(id)}`, (answer) => shaped(OneVolume, answer).volume),

    snapshot: (as, id) =>
      found(as, `snapshots/${encodeURIComponent(id)}`, (answer) => shaped(OneSnapshot, answer).snapshot),

    async snapshotsOf(as, volumeId) {
      const query = { volume_id: volumeId }
      const answer = await http.ask(as, { method: 'GET', path: 'snapshots/detail', query })
      return shaped(Snapshots, answer)
        .snapshots.filter((one) => one.volumeId === volumeId)
        .toSorted((a, b) => (a.createdAt < b.createdAt ? -1 : 1))
    },

    async makeVolume(as, body) {
      const { volume } = shaped(
        MadeVolume,
        await http.ask(as, { method: 'POST', path: 'volumes', body: { volume: body } }),
      )
      return volume
    },

    async told(as, volumeId) {
      const path = `volumes/${encodeURIComponent(volumeId)}`
      return shaped(MadeVolume, await http.ask(as, { method: 'GET', path })).volume
    },

    async revert(as, volumeId, snapshotId) {
      const path = `volumes/${encodeURIComponent(volumeId)}/action`
      const body = { revert: { snapshot_id: snapshotId } }
      await http.ask(as, { method: 'POST', path, body }).catch((error: unknown) => {
        // What its state forbids is a bad request there.
        if (isCode(error, 'invalid')) throw new FleetError('conflict', error.message, { cause: error })
        throw error
      })
    },
  }
}
