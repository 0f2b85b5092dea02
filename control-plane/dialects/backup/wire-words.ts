import { FleetError } from '../../../shared/errors.ts'

/** Core's names of fields, as clients of this dialect write them. */
const FIELDS: Readonly<Record<string, string>> = {
  volume: 'backup.volume_id',
  snapshot: 'backup.snapshot_id',
  target: 'backup.target',
  name: 'backup.name',
  retention: 'backup.retention',
  instance: 'instance_id',
}

/** What `work` answers. @throws what it throws, naming the field at fault as the client wrote it. */
export async function inWireWords<Result>(work: Promise<Result>): Promise<Result> {
  try {
    return await work
  } catch (error) {
    const field = error instanceof FleetError && error.field !== undefined ? FIELDS[error.field] : undefined
    if (!(error instanceof FleetError) || error.field === undefined || field === undefined) throw error
    const reason = error.message.startsWith(`${error.field}: `)
      ? error.message.slice(error.field.length + 2)
      : error.message
    const { blockers } = error
    throw new FleetError(error.code, `${field}: ${reason}`, { field, cause: error, ...(blockers ? { blockers } : {}) })
  }
}
