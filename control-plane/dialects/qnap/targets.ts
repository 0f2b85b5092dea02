import type { TargetInfo } from '../../core/targets.ts'
import { route } from '../../http/route.ts'
import { etagOfTarget, expectingTarget, presentTarget } from './present-targets.ts'
import { inClientWords, newTarget, targetChange } from './target-request.ts'
import { ChangeTargetBody, CreateTargetBody, RemovedIds, TargetId, TargetList, TargetView } from './target-schemas.ts'

const LIST_PAGE = 500
/** Nobody has so many; a list without an end would be worse. */
const PAGES_MAX = 100

export const createTarget = route({
  operation: 'createTarget',
  method: 'POST',
  path: '/api/v1/target',
  summary: 'Create a backup remote target',
  access: 'operator',
  status: 200,
  body: CreateTargetBody,
  result: TargetView,
  errors: [409, 503, 504],

  async handle({ body, caller }, core) {
    const target = await inClientWords(core.targets.create(caller, newTarget(body)))
    return { status: 200, body: presentTarget(target), etag: etagOfTarget(target) }
  },
})

export const listTargets = route({
  operation: 'listTargets',
  method: 'GET',
  path: '/api/v1/target',
  summary: 'List remote targets',
  access: 'viewer',
  status: 200,
  result: TargetList,

  async handle({ caller }, core) {
    const targets: TargetInfo[] = []
    let cursor: string | undefined
    for (let pages = 0; pages < PAGES_MAX; pages += 1) {
      const page = await core.targets.list(caller, { limit: LIST_PAGE, cursor })
      targets.push(...page.items)
      if (page.nextCursor === null) break
      cursor = page.nextCursor
    }
    const byId = targets.toSorted((left, right) => left.number - right.number)
    return { status: 200, body: byId.map(presentTarget) }
  },
})

export const getTarget = route({
  operation: 'getTarget',
  method: 'GET',
  path: '/api/v1/target/:id',
  summary: 'Get a remote target',
  access: 'viewer',
  status: 200,
  params: TargetId,
  result: TargetView,
  errors: [404],

  async handle({ params, caller }, core) {
    const target = await core.targets.get(caller, params.id)
    return { status: 200, body: presentTarget(target), etag: etagOfTarget(target) }
  },
})

export const changeTarget = route({
  operation: 'changeTarget',
  method: 'PUT',
  path: '/api/v1/target/:id',
  summary: 'Modify a remote target',
  description: 'What is absent stays as it is.',
  access: 'operator',
  status: 200,
  params: TargetId,
  body: ChangeTargetBody,
  result: TargetView,
  errors: [404, 409, 412, 503, 504],
  precondition: 'own',

  async handle({ params, body, caller, ifMatch }, core) {
    const change = (current: TargetInfo) => targetChange(body, current)
    const target = await inClientWords(core.targets.update(caller, params.id, change, expectingTarget(ifMatch)))
    return { status: 200, body: presentTarget(target), etag: etagOfTarget(target) }
  },
})

export const deleteTarget = route({
  operation: 'deleteTarget',
  method: 'DELETE',
  path: '/api/v1/target/:id',
  summary: 'Delete a remote target',
  description: '409 while backups lie there. What is on its server stays as it is.',
  access: 'operator',
  status: 200,
  params: TargetId,
  result: RemovedIds,
  errors: [404, 409, 412],
  precondition: 'own',

  async handle({ params, caller, ifMatch }, core) {
    await core.targets.delete(caller, params.id, expectingTarget(ifMatch))
    return { status: 200, body: [Number(params.id)] }
  },
})
