import { createHash } from 'node:crypto'
import { ERROR_CODES, type ErrorCode, FleetError } from '../../../shared/errors.ts'
import type { ElementFailure, ExportBatch, ExportInfo, LiveExport, WantExport } from '../../core/exports.ts'
import type { CreateExportBody, ExportBatchView, ExportView } from './export-schemas.ts'
import { time } from './present.ts'

type ShownExport = ExportInfo & { readonly live: LiveExport | undefined }

/** Of an export and of what its host tells of it. */
export function etagOfExport({ id, version, live }: ShownExport): string {
  const told = createHash('sha256')
    .update(JSON.stringify(live ?? null))
    .digest('base64url')
  return `"${id}.${version}.${told.slice(0, ETAG_LETTERS)}"`
}
const ETAG_LETTERS = 16

export function presentExport(shown: ShownExport): ExportView {
  const { id, volume, host, initiators, state, live } = shown
  const lun = live?.lun ?? null
  return {
    ...{ id, group_id: shown.groupId, target: shown.wwn, lun, volume, host },
    portal: live?.portal ?? null,
    standing: live ? (live.standing ?? true) : null,
    initiators: [...initiators],
    chap_user: shown.chapUser,
    readonly: shown.isReadonly,
    sessions: live?.sessions.map(({ initiator, address }) => ({ initiator, address })) ?? null,
    state,
    created_at: shown.createdAt.toISOString(),
  }
}

export function presentBatch(batch: ExportBatch): ExportBatchView {
  const { id, type, phase, requested, passed, finished, done, times } = batch
  return {
    ...{ id, group_id: batch.groupId, type, phase, requested, passed, finished },
    done: done.map(({ n, volume, reused, diverged }) => ({ n, volume, reused, diverged })),
    errors: batch.errors.map(({ n, code, message, unexported = false }) => ({
      ...{ n, code: codeOf(code), message, unexported },
    })),
    times: {
      clone_seconds: times.cloneSeconds,
      device_seconds: times.deviceSeconds,
      target_seconds: times.targetSeconds,
    },
    jobs: batch.jobs.map((job) => ({ ...job })),
    created_at: batch.createdAt.toISOString(),
    started_at: time(batch.startedAt),
    ended_at: time(batch.endedAt),
  }
}

export function wantedOf({ create_parent: createParent, readonly: isReadonly, ...rest }: CreateExportBody): WantExport {
  return { ...rest, createParent, isReadonly }
}

/** Agents and jobs tell codes as text. */
function codeOf(code: string): ErrorCode {
  return ERROR_CODES.find((known) => known === code) ?? 'internal'
}

export function failureOf({ code, message }: ElementFailure, blockers: readonly string[] = []): FleetError {
  return new FleetError(codeOf(code), message, blockers.length > 0 ? { blockers } : {})
}

/** What core says of an element's member: `clones[3].createParent`. */
const FIELD = /^\w+\[(\d+)\]\.(\w+)/

/** What `work` answers. @throws what it throws, fields at fault named as the client spelled them. @param list where elements stand in its body */
export async function inElementWords<Result>(work: Promise<Result>, list?: string): Promise<Result> {
  try {
    return await work
  } catch (error) {
    if (!(error instanceof FleetError) || error.field === undefined) throw error
    const [, n, member] = FIELD.exec(error.field) ?? []
    if (member === undefined) throw error
    const own = member.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
    const field = list === undefined ? own : `${list}.${n}.${own}`
    throw new FleetError(error.code, error.message.replace(error.field, field), { field, cause: error })
  }
}
