import test, { type ExecutionContext } from 'ava'
import { FleetError } from '../../shared/errors.ts'
import { createLogger } from '../../shared/logger.ts'
import type { ReadAnswerOf } from '../../shared/wire/reads.ts'
import { until } from '../../test/harness/until.ts'
import type { Instance } from '../instances/instances.ts'
import { createInstanceList, MAX_INSTANCES } from './instance-list.ts'

const logger = createLogger('test', 'silent')

function lxc(name: string, rest: Partial<Instance> = {}): Instance {
  return {
    type: 'lxc',
    id: name,
    name,
    state: 'RUNNING',
    pid: undefined,
    rootfs: undefined,
    mounts: [],
    config: undefined,
    ...rest,
  }
}

/** A host whose tools answer what the test says. */
function host(t: ExecutionContext, { everyMs = 10_000, fails = false } = {}) {
  const tools = { there: true, fails, instances: [lxc('b'), lxc('a')], listings: 0, news: 0 }
  async function list() {
    tools.listings += 1
    if (tools.fails) throw new FleetError('unavailable', 'the engine is away')
    return tools.instances
  }
  const made = createInstanceList({
    types: () => (tools.there ? [{ type: 'lxc' as const, list }] : []),
    onChange: () => {
      tools.news += 1
    },
    logger,
    everyMs,
  })
  t.teardown(() => made.stop())
  return { tools, made, names: () => made.page({ limit: 1000 }).items.map(({ name }) => name) }
}

test('a host that serves none tells nothing of them, and one that has not listed them yet says so', async (t) => {
  const { tools, made } = host(t)
  t.deepEqual(made.told(), { hash: null })
  t.throws(() => made.page({ limit: 10 }), { message: /not listed yet/ })
  await until('the list is as expected', () => tools.news === 1)
  t.regex(made.told()?.hash ?? '', /^[0-9a-f]{32}$/)
  const none = createInstanceList({ types: () => [], onChange: () => t.fail(), logger })
  t.teardown(() => none.stop())
  t.is(none.told(), undefined)
})

test('the hash changes with the list and with every order, and stays while nothing happens', async (t) => {
  const { tools, made } = host(t, { everyMs: 20 })
  await until('the list is as expected', () => tools.listings >= 3)
  t.is(tools.news, 1)
  const first = made.told()?.hash
  tools.instances = [lxc('a'), lxc('b', { state: 'STOPPED' })]
  await until('the list is as expected', () => tools.news === 2)
  const second = made.told()?.hash
  made.refresh()
  await until('the list is as expected', () => tools.news === 3)
  t.is(new Set([first, second, made.told()?.hash]).size, 3)
})

test('tools that fail or go away take nothing with them: the last list stays, with the problem', async (t) => {
  const { tools, made, names } = host(t)
  await until('the list is as expected', () => tools.news === 1)
  tools.fails = true
  made.refresh()
  await until('the list is as expected', () => tools.news === 2)
  t.deepEqual(names(), ['a', 'b'])
  t.deepEqual(made.page({ limit: 1 }).types, [
    { type: 'lxc', listed: true, problem: 'unavailable: the engine is away' },
  ])
  tools.there = false
  made.refresh()
  await until('the list is as expected', () => tools.news === 3)
  t.deepEqual(names(), ['a', 'b'])
  t.regex(made.page({ limit: 1 }).types[0]?.problem ?? '', /not there any more/)
})

test('what was never listed is told as that: nobody knows what is gone', async (t) => {
  const { tools, made } = host(t, { fails: true })
  await until('the list is as expected', () => tools.news === 1)
  t.like(made.page({ limit: 10 }), { items: [], types: [{ type: 'lxc', listed: false }] })
})

test('a list goes out in pages that fit a message, and pages of two lists are not mixed', async (t) => {
  const { tools, made } = host(t)
  const mounts = Array.from({ length: 60 }, (_, n) => ({
    destination: `/${n}/${'d'.repeat(1000)}`,
    source: '/s',
    kind: 'bind' as const,
    volume: undefined,
    readonly: false,
  }))
  tools.instances = Array.from({ length: 20 }, (_, n) => lxc(`c${String(n).padStart(2, '0')}`, { mounts }))
  made.refresh()
  await until('the list is as expected', () => made.told()?.hash !== null && tools.listings > 1)
  const pages: ReadAnswerOf<'instances'>[] = []
  for (let cursor: string | undefined; ; ) {
    const page = made.page({ limit: 1000, ...(cursor === undefined ? {} : { cursor }) })
    t.true(JSON.stringify(page).length < 600_000)
    pages.push(page)
    if (page.next === null) break
    cursor = page.next
  }
  t.true(pages.length > 1)
  t.is(pages.flatMap(({ items }) => items).length, 20)
  made.refresh()
  const { hash } = pages[0] ?? {}
  await until('the list is as expected', () => made.told()?.hash !== hash)
  t.throws(() => made.page({ limit: 10, cursor: pages[0]?.next ?? '' }), { message: /changed meanwhile/ })
})

test('of more than a host may have the first are told, and that there are more', async (t) => {
  const { tools, made } = host(t)
  tools.instances = Array.from({ length: MAX_INSTANCES + 1 }, (_, n) => lxc(`c${String(n).padStart(5, '0')}`))
  made.refresh()
  await until('the list is as expected', () => tools.listings === 2 && tools.news >= 1)
  await until('the list is as expected', () => made.page({ limit: 1 }).types[0]?.problem !== null)
  t.regex(made.page({ limit: 1 }).types[0]?.problem ?? '', /of 5001 instances only 5000/)
})
