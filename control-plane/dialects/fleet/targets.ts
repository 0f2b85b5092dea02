import { isIP } from 'node:net'
import { z } from 'zod'
import { TargetPath } from '../../../shared/point-spec.ts'
import type { TargetSecret } from '../../../shared/target-config.ts'
import type { TargetEntry } from '../../../shared/wire/reads.ts'
import { mergeConfig } from '../../core/target-rules.ts'
import type { ChangeTarget, TargetCondition, TargetInfo } from '../../core/targets.ts'
import { route } from '../../http/route.ts'
import { PageQuery } from './schemas.ts'
import {
  ChangeTargetBody,
  CreateTargetBody,
  EntryPage,
  type EntryView,
  HealthView,
  TargetPage,
  TargetView,
} from './target-schemas.ts'
import { inClientNames, inClientWords, inCoreNames } from './wire-names.ts'

const IdOrNumber = z.object({ id: z.string().min(1).max(100).meta({ description: 'A uuid or the number' }) })
const PLAIN_PORT = 80
const TLS_PORT = 443

function etagOfTarget({ id, version }: Pick<TargetInfo, 'id' | 'version'>): string {
  return `"${id}.${version}"`
}

function expectingTarget(ifMatch: ((etag: string) => boolean) | undefined): TargetCondition | undefined {
  return ifMatch && ((current) => ifMatch(etagOfTarget(current)))
}

function presentTarget(target: TargetInfo): TargetView {
  // as: the view has the members of every configuration, under the names that clients know
  const config = inClientNames(target.config) as Pick<TargetView, 'protocol' | 'base' | 'limits' | 'verify'>
  return {
    ...config,
    id: target.id,
    number: target.number,
    group_id: target.groupId,
    name: target.name,
    description: target.description,
    has_secret: target.hasSecret,
    recipients: [...target.recipients],
    has_identity: target.hasIdentity,
    created_at: target.createdAt.toISOString(),
  }
}

function presentEntry({ name, kind, sizeBytes, modifiedAt, points }: TargetEntry): EntryView {
  return { name, type: kind, size_bytes: sizeBytes, modified_at: modifiedAt, ...(points ? { points } : {}) }
}

/** What is configuration, what is secret, and what is neither. */
function partsOf(body: CreateTargetBody | ChangeTargetBody) {
  // as: bodies differ by protocol; every one is part of this
  const { description, recipients, password, private_key, passphrase, identity, ...config } = body as ChangeTargetBody
  const given: TargetSecret = {
    ...(password === undefined ? {} : { password }),
    ...(private_key === undefined ? {} : { privateKey: private_key }),
    ...(passphrase === undefined ? {} : { passphrase }),
    ...(identity === undefined ? {} : { identity }),
  }
  return { description, recipients, config, secret: given }
}

function changeOf(body: ChangeTargetBody, current: TargetInfo): ChangeTarget {
  const { config, secret, description, recipients } = partsOf(body)
  // as: names stay members, and values what they are
  const named = inCoreNames({ ...config, ...(config.ca === null ? { ca: undefined } : {}) }) as Record<string, unknown>
  return {
    description,
    recipients,
    ...(Object.keys(named).length > 0 ? { config: mergeConfig(current.config, named) } : {}),
    ...(Object.keys(secret).length > 0 ? { secret } : {}),
  }
}

/** Core takes no guesses: what a client may leave out is said here. */
function completed(body: CreateTargetBody): CreateTargetBody {
  if (body.protocol === 'sftp') return body
  const { encrypt = true } = body
  const port = body.port ?? (encrypt ? TLS_PORT : PLAIN_PORT)
  if (body.protocol === 'webdav') return { ...body, encrypt, port }
  // No bucket has a name in front of an address.
  return { ...body, encrypt, port, path_style: body.path_style ?? isIP(body.host) !== 0 }
}

export const listTargets = route({
  operation: 'listTargets',
  method: 'GET',
  path: '/api/v1/targets',
  summary: 'Where archives go',
  access: 'viewer',
  status: 200,
  query: PageQuery,
  result: TargetPage,

  async handle({ query, caller }, core) {
    const { items, nextCursor } = await core.targets.list(caller, query)
    return { status: 200, body: { items: items.map(presentTarget), next_cursor: nextCursor } }
  },
})

export const getTarget = route({
  operation: 'getTarget',
  method: 'GET',
  path: '/api/v1/targets/:id',
  summary: 'One target',
  access: 'viewer',
  status: 200,
  params: IdOrNumber,
  result: TargetView,
  errors: [404],

  async handle({ params, caller }, core) {
    const target = await core.targets.get(caller, params.id)
    return { status: 200, body: presentTarget(target), etag: etagOfTarget(target) }
  },
})

export const createTarget = route({
  operation: 'createTarget',
  method: 'POST',
  path: '/api/v1/targets',
  summary: 'Make a target',
  description: 'Its secrets are sealed and never shown. Whether it can be reached, its `ping` tells.',
  access: 'operator',
  status: 201,
  body: CreateTargetBody,
  result: TargetView,
  errors: [409, 503, 504],

  async handle({ body, caller }, core) {
    const { config, ...rest } = partsOf(completed(body))
    const target = await inClientWords(core.targets.create(caller, { ...rest, config: inCoreNames(config) }))
    return { status: 201, body: presentTarget(target), etag: etagOfTarget(target) }
  },
})

export const changeTarget = route({
  operation: 'changeTarget',
  method: 'PUT',
  path: '/api/v1/targets/:id',
  summary: 'Change a target',
  description: "What is absent stays as it is; a secret that is `''`, and a `ca` that is null, goes.",
  access: 'operator',
  status: 200,
  params: IdOrNumber,
  body: ChangeTargetBody,
  result: TargetView,
  errors: [404, 409, 412, 503, 504],
  precondition: 'own',

  async handle({ params, body, caller, ifMatch }, core) {
    const change = (current: TargetInfo) => changeOf(body, current)
    const target = await inClientWords(core.targets.update(caller, params.id, change, expectingTarget(ifMatch)))
    return { status: 200, body: presentTarget(target), etag: etagOfTarget(target) }
  },
})

export const deleteTarget = route({
  operation: 'deleteTarget',
  method: 'DELETE',
  path: '/api/v1/targets/:id',
  summary: 'Forget a target',
  description: '409 with `blockers` while points lie there. What is on its server stays as it is.',
  access: 'operator',
  status: 204,
  params: IdOrNumber,
  errors: [404, 409, 412],
  precondition: 'own',

  async handle({ params, caller, ifMatch }, core) {
    await core.targets.delete(caller, params.id, expectingTarget(ifMatch))
    return { status: 204 }
  },
})

export const pingTarget = route({
  operation: 'pingTarget',
  method: 'POST',
  path: '/api/v1/targets/:id/ping',
  summary: 'Whether an agent can reach a target and use it now',
  access: 'operator',
  status: 200,
  params: IdOrNumber,
  result: HealthView,
  errors: [404, 503],

  async handle({ params, caller }, core) {
    const { alive, reason, freeBytes } = await core.targets.ping(caller, params.id)
    return { status: 200, body: { alive, reason, free_bytes: freeBytes } }
  },
})

const EntriesQuery = PageQuery.extend({
  cursor: z.string().min(1).max(12_000).optional(),
  path: z
    .string()
    .transform((path) => path.split('/').filter(Boolean).join('/'))
    .pipe(TargetPath)
    .optional()
    .meta({ description: "Below the target's base; its top unless said" }),
})

export const listTargetFiles = route({
  operation: 'listTargetFiles',
  method: 'GET',
  path: '/api/v1/targets/:id/files',
  summary: 'What lies in a directory of a target',
  access: 'viewer',
  status: 200,
  params: IdOrNumber,
  query: EntriesQuery,
  result: EntryPage,
  errors: [404, 413, 503, 504],

  async handle({ params, query, caller }, core) {
    const { path = '', ...page } = query
    const { items, nextCursor } = await core.targets.browse(caller, params.id, path, page)
    return { status: 200, body: { items: items.map(presentEntry), next_cursor: nextCursor } }
  },
})
