import { FleetError } from '../../../shared/errors.ts'

/** Core's names of fields, as clients of this dialect write them. */
const NAMES: Readonly<Record<string, string>> = {
  volume: 'volume_id',
  snapshot: 'snapshot_id',
  instance: 'instance_id',
}

/** Makes whatever a request is at fault with be told as the client spelled it, below the member that it wrapped all in. */
function wordsOf(wrapper: string) {
  return async <Result>(work: Promise<Result>): Promise<Result> => {
    try {
      return await work
    } catch (error) {
      if (!(error instanceof FleetError) || error.field === undefined || error.field === 'update') throw error
      const field = `${wrapper}.${NAMES[error.field] ?? error.field}`
      const isNamed = error.message.startsWith(`${error.field}: `)
      const reason = isNamed ? error.message.slice(error.field.length + 2) : error.message
      const blockers = error.blockers === undefined ? {} : { blockers: error.blockers }
      throw new FleetError(error.code, `${field}: ${reason}`, { field, cause: error, ...blockers })
    }
  }
}

export const inBackupWords = wordsOf('backup')
export const inSnapshotWords = wordsOf('snapshot')
