import { everyPage } from '../../core/every-page.ts'
import type { TargetInfo } from '../../core/targets.ts'
import { route } from '../../http/route.ts'
import { NumberedId, RemovedIds } from './numbered-id.ts'
import { etagOfTarget, expectingTarget, presentTarget } from './present-targets.ts'
import { inClientWords, newTarget, targetChange } from './target-request.ts'
import { ChangeTargetBody, CreateTargetBody, TargetList, TargetView } from './target-schemas.ts'

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
  errors: [413],

  async handle({ caller }, core) {
    const targets = await everyPage((page) => core.targets.list(caller, page))
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
  params: NumberedId,
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
  params: NumberedId,
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
  params: NumberedId,
  result: RemovedIds,
  errors: [404, 409, 412],
  precondition: 'own',

  async handle({ params, caller, ifMatch }, core) {
    await core.targets.delete(caller, params.id, expectingTarget(ifMatch))
    return { status: 200, body: [Number(params.id)] }
  },
})
