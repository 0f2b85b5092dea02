import { randomUUID } from 'node:crypto'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { createLogger } from '../../shared/logger.ts'
import { WIRE_VERSION } from '../../shared/wire/messages.ts'
import {
  type HostRead,
  READS,
  type ReadAnswer,
  type ReadAnswerOf,
  type ReadRequestOf,
} from '../../shared/wire/reads.ts'
import { NO_INSTANCES } from '../../test/harness/no-instances.ts'
import {
  OWN_TARGET,
  type PointOrders,
  pointOrders,
  readable,
  SERIES,
  threePoints,
} from '../../test/harness/point-orders.ts'
import { createInstanceList } from './instance-list.ts'
import { createReads } from './reads.ts'

const logger = createLogger('test', 'silent')

async function asked<Op extends HostRead>(
  t: ExecutionContext,
  made: PointOrders,
  operation: Op,
  request: ReadRequestOf<Op>,
): Promise<ReadAnswer & { readonly found: () => ReadAnswerOf<Op> }> {
  const instances = createInstanceList({ types: () => [], onChange: () => undefined, logger })
  t.teardown(() => instances.stop())
  const reads = createReads({
    points: made.points,
    instances,
    volumes: NO_INSTANCES.volumes,
    exports: NO_INSTANCES.exports,
    places: NO_INSTANCES,
    logger,
  })
  t.teardown(() => reads[Symbol.asyncDispose]())
  const question = { v: WIRE_VERSION, id: randomUUID(), body: request }
  const answer = await reads.answer(operation, Buffer.from(JSON.stringify(question)))
  if (answer === undefined) throw new Error('no such operation')
  return {
    ...answer,
    found() {
      if (!answer.ok) throw new Error(JSON.stringify(answer.error))
      return READS[operation].answer.parse(answer.body) as ReadAnswerOf<Op> // as: the operation's own schema
    },
  }
}

test('a directory of a point is read page by page, and searched, without its data', async (t) => {
  const made = await pointOrders(t)
  const { refs } = await threePoints(made)
  const point = readable(made, refs)
  const names: string[] = []
  let cursor: string | null = null
  do {
    const request = { point, path: '', limit: 2, ...(cursor === null ? {} : { cursor }) }
    const page: ReadAnswerOf<'point-files'> = (await asked(t, made, 'point-files', request)).found()
    names.push(...page.items.map(({ path }) => path))
    cursor = page.next
  } while (cursor !== null)
  t.deepEqual(names, ['docs', 'hard', 'link', 'moved', 'new-1', 'new-2'])
  const files = (await asked(t, made, 'point-files', { point, path: '/docs/', limit: 10 })).found().items
  t.like(files, [{ path: 'docs/a.txt', type: 'file', size: 22 }])
  t.regex(files[0]?.sha256 ?? '', /^[0-9a-f]{64}$/)
  const hits = (await asked(t, made, 'point-files', { point, path: '', search: 'A', limit: 10 })).found().items
  t.deepEqual(
    hits.map(({ path }) => path),
    ['docs/a.txt', 'hard'],
  )
  const below = await asked(t, made, 'point-files', { point, path: 'docs', search: 'a', limit: 10 })
  t.deepEqual(below.found(), { items: files, next: null })
  const itself = await asked(t, made, 'point-files', { point, path: 'docs', search: 'docs', limit: 10 })
  t.deepEqual(itself.found(), { items: [], next: null })
  t.like(await asked(t, made, 'point-files', { point, path: 'absent', limit: 10 }), { error: { code: 'not_found' } })
  t.like(await asked(t, made, 'point-files', { point, path: '', limit: 10, cursor: '!' }), {
    error: { code: 'invalid', field: 'cursor' },
  })
})

test('what differs between two points is told page by page', async (t) => {
  const made = await pointOrders(t)
  const { refs } = await threePoints(made)
  const [before, after] = [readable(made, refs.slice(0, 1)), readable(made, refs)]
  const differences: string[] = []
  let cursor: string | null = null
  do {
    const request = { before, after, limit: 3, ...(cursor === null ? {} : { cursor }) }
    const page: ReadAnswerOf<'point-diff'> = (await asked(t, made, 'point-diff', request)).found()
    differences.push(...page.items.map((item) => `${item.kind} ${(item.after ?? item.before)?.path}`))
    cursor = page.next
  } while (cursor !== null)
  // A clone does not vouch for the times of what was written just before it.
  const contents = differences.filter((told) => !told.startsWith('metadata'))
  t.deepEqual(contents, [
    'content docs/a.txt',
    'removed docs/deep',
    'removed docs/deep/big',
    'removed empty',
    'content hard',
    'added moved',
    'added moved/big',
    'added new-1',
    'added new-2',
  ])
})

test('a target tells whether it is alive and what it holds, and which directories hold points', async (t) => {
  const made = await pointOrders(t)
  const { refs } = await threePoints(made)
  const alive = (await asked(t, made, 'target-ping', { target: made.target })).found()
  t.like(alive, { alive: true, reason: null })
  t.true((alive.freeBytes ?? 0) > 0)
  const away = { ...OWN_TARGET, config: { protocol: 's3', name: 'away', host: '127.0.0.1', port: 9, bucket: 'bucket' } }
  const dead = await asked(t, made, 'target-ping', {
    target: { ...away, config: { ...away.config, accessKeyId: 'k' } } as never,
  })
  t.like(dead.found(), { alive: false, freeBytes: null })
  t.truthy(dead.found().reason)
  const parent = SERIES.split('/').slice(0, -1).join('/')
  mkdirSync(join(made.backups, '..', 'other'))
  // Nobody may read it, as one of another user's.
  symlinkSync('nowhere', join(made.backups, '..', 'other', 'backup-metadata'))
  writeFileSync(join(made.backups, '..', 'file'), 'x')
  const listed = (await asked(t, made, 'target-list', { target: made.target, path: parent, limit: 2 })).found()
  t.like(listed.items[0], { name: 'data', kind: 'directory', points: refs.map(({ name }) => name).reverse() })
  t.like(listed.items[1], { name: 'file', kind: 'file', sizeBytes: 1 })
  const request = { target: made.target, path: parent, limit: 2, cursor: listed.next ?? '' }
  t.deepEqual(
    (await asked(t, made, 'target-list', request)).found().items.map(({ name }) => name),
    ['other'],
  )
  const config = { protocol: 'sftp', name: 'x', host: '169.254.169.254', username: 'u' } as const
  t.like(await asked(t, made, 'target-host-key', { config }), { error: { code: 'refused' } })
})
