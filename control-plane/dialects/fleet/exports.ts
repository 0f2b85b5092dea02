import { FleetError } from '../../../shared/errors.ts'
import { actingFor, type Caller } from '../../core/caller.ts'
import { requireCondition } from '../../core/condition.ts'
import type { Core } from '../../core/core.ts'
import type { AcceptedExports } from '../../core/exports.ts'
import { route } from '../../http/route.ts'
import { CreateExportBody, ExportPage, ExportParams, ExportQuery, ExportView, RemoveQuery } from './export-schemas.ts'
import { etagOfExport, failureOf, inElementWords, presentExport, wantedOf } from './present-exports.ts'
import { asAnswer, settled } from './settled.ts'

interface Waiting {
  readonly caller: Caller
  readonly signal: AbortSignal
}

/** Waits for the end of a batch of one, and gives the headers of its answer. @throws its failure, in this dialect's words */
async function done(
  core: Core,
  { batchId, jobIds }: AcceptedExports,
  { caller, signal, blockers }: Waiting & { readonly blockers?: () => Promise<readonly string[]> },
): Promise<Readonly<Record<string, string>>> {
  const [jobId] = jobIds
  if (jobId !== undefined) await settled(core, jobId, signal)
  const { errors } = await core.exports.batch(caller, batchId)
  const [failed] = errors
  if (failed === undefined) return jobId === undefined ? {} : { 'X-Job-Id': jobId }
  const failure = failureOf(failed, failed.code === 'conflict' ? await blockers?.() : [])
  throw jobId === undefined ? failure : asAnswer(failure, jobId)
}

export const listExports = route({
  operation: 'listExports',
  method: 'GET',
  path: '/api/v1/exports',
  summary: 'Exports that match every filter given, with their sessions',
  access: 'viewer',
  status: 200,
  query: ExportQuery,
  result: ExportPage,

  async handle({ query, caller }, core) {
    const { limit, cursor, ...filter } = query
    const { items, nextCursor } = await core.exports.list(caller, filter, { limit, cursor })
    return { status: 200, body: { items: items.map(presentExport), next_cursor: nextCursor } }
  },
})

export const getExport = route({
  operation: 'getExport',
  method: 'GET',
  path: '/api/v1/exports/:id',
  summary: 'One export, with its sessions',
  access: 'viewer',
  status: 200,
  params: ExportParams,
  result: ExportView,
  errors: [404],

  async handle({ params, caller }, core) {
    const shown = await core.exports.get(caller, params.id)
    return { status: 200, body: presentExport(shown), etag: etagOfExport(shown) }
  },
})

export const createExport = route({
  operation: 'createExport',
  method: 'POST',
  path: '/api/v1/exports',
  summary: 'Export a volume as LUN 0 of an iSCSI target of its own',
  description:
    'To the named initiators only. With `source` the volume is cloned first. It answers when that is done, after 30 s with 504 while the job goes on. The same again changes who may log in.',
  access: 'operator',
  status: 201,
  body: CreateExportBody,
  result: ExportView,
  errors: [404, 409, 503, 504, 507],

  async handle({ body, caller, signal }, core) {
    const accepted = await inElementWords(core.exports.create(caller, [wantedOf(body)], { isWaited: true }))
    const headers = await done(core, accepted, { caller, signal })
    const made = await core.exports.get(caller, body.wwn)
    return { status: 201, body: presentExport(made), etag: etagOfExport(made), headers }
  },
})

export const deleteExport = route({
  operation: 'deleteExport',
  method: 'DELETE',
  path: '/api/v1/exports/:id',
  summary: 'Remove an export',
  description:
    '409 with `blockers`, the initiators, while one has a session, unless `force=true`. The volume stays unless `delete_volume=true`.',
  access: 'operator',
  status: 204,
  params: ExportParams,
  query: RemoveQuery,
  precondition: 'own',
  errors: [404, 409, 412, 503, 504],

  async handle({ params, query, caller, ifMatch, signal }, core) {
    const shown = await core.exports.get(caller, params.id)
    requireCondition<typeof shown>(ifMatch && ((current) => ifMatch(etagOfExport(current))), shown)
    const { wwn, volume, groupId } = shown
    const owner = actingFor(caller, groupId)
    const asked = {
      wwn,
      volume,
      force: query.force,
      deleteVolume: query.delete_volume,
      ...(ifMatch && { version: shown.version }),
    }
    const accepted = await inElementWords(core.exports.remove(owner, [asked], { isWaited: true }))
    const blockers = () => sessionsOf(core, owner, wwn)
    return { status: 204, headers: await done(core, accepted, { caller: owner, signal, blockers }) }
  },
})

/** Names of the initiators that are logged in; none of what is gone meanwhile. */
async function sessionsOf(core: Core, caller: Caller, wwn: string): Promise<readonly string[]> {
  try {
    const { live } = await core.exports.get(caller, wwn)
    return [...new Set(live?.sessions.map(({ initiator }) => initiator))]
  } catch (error) {
    if (error instanceof FleetError) return []
    throw error
  }
}
