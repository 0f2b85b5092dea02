import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { openTarget, type TransferContext } from '../../agent/transfer/open-target.ts'
import type { Target } from '../../agent/transfer/transfer.ts'
import { TargetConfig } from '../../shared/target-config.ts'
import { DAV_PASSWORD, DAV_USER, DavServer, lacksDav } from '../harness/dav-server.ts'
import { FaultProxy } from '../harness/fault-proxy.ts'
import { mountLoop, temporaryDirectory } from '../harness/loop-mount.ts'
import { startStopwatch } from '../harness/stopwatch.ts'
import { testUnless } from '../harness/system-packages.ts'
import { until } from '../harness/until.ts'
import { targetContract } from './target-contract.ts'
import { context, load, namesIn, noise, store, streamMany, watch } from './target-setup.ts'

const lacks = lacksDav()
const serially = testUnless(lacks)
const cleanUps: (() => void)[] = []
let server: DavServer

test.before(async () => {
  if (lacks !== undefined) return
  server = await DavServer.start(temporaryDirectory({ teardown: (act) => cleanUps.push(act) }))
})
test.after.always(async () => {
  await server?.kill()
  for (const cleanUp of cleanUps.toReversed()) cleanUp()
})

interface Wanted {
  readonly port?: number
  readonly password?: string
  readonly config?: Readonly<Record<string, unknown>>
  readonly context?: Partial<TransferContext>
}

function configOf({ port = server.port, config }: Wanted = {}): TargetConfig {
  const place = { protocol: 'webdav', name: 'nas', host: '127.0.0.1', port, encrypt: false, base: '/' }
  return TargetConfig.parse({ ...place, username: DAV_USER, ...config })
}

function open(wanted: Wanted = {}): Promise<Target> {
  return openTarget(configOf(wanted), { password: wanted.password ?? DAV_PASSWORD }, { ...context, ...wanted.context })
}

async function behindProxy(t: ExecutionContext, serverPort = server.port) {
  const proxy = await FaultProxy.start(serverPort)
  t.teardown(() => proxy.close())
  return { proxy, target: await open({ port: proxy.port }) }
}

const hidden = (folder: string) => readdirSync(join(server.root, folder))

targetContract({ open: () => open(), verified: 'reread', lacks })

serially('a wrong password is refused at once, and is told nowhere', async (t) => {
  const target = await open({ password: 'not the password' })
  const error = await t.throwsAsync(target.ping(watch), { code: 'refused', message: /nas.*password/ })
  t.false(JSON.stringify([error?.message, Object(error).detail]).includes('not the password'))
  await t.throwsAsync(target.put('a', watch), { code: 'refused' })
})

serially('a base that is not there is told by ping', async (t) => {
  await t.throwsAsync((await open({ config: { base: '/missing' } })).ping(watch), { code: 'not_found' })
})

serially('a certificate must be signed by an authority that is trusted, for that name', async (t) => {
  const tls = { port: server.tlsPort, encrypt: true }
  await t.throwsAsync((await open({ config: tls })).ping(watch), { code: 'refused', message: /certificate/ })
  const own = await open({ config: { ...tls, ca: server.ca } })
  await own.ping(watch)
  const bytes = noise(3_000_000)
  await store(own, 'over-tls', bytes)
  t.true((await load(own, 'over-tls')).equals(bytes))
  const resolve = async () => [{ address: '127.0.0.1', family: 4 }]
  const { createDialer } = await import('../../agent/transfer/dial.ts')
  const dialer = createDialer(context.addresses, resolve)
  const named = (host: string) => open({ config: { ...tls, ca: server.ca, host }, context: { dialer } })
  await (await named('dav.test')).ping(watch)
  await t.throwsAsync((await named('other.test')).ping(watch), { code: 'refused', message: /another name/ })
})

serially('an upload that is cut anywhere leaves nothing, and the next is good', async (t) => {
  const { proxy, target } = await behindProxy(t)
  await target.mkdir('cut', watch)
  const bytes = noise(6_000_000)
  for (const afterBytes of [100, 900, 70_000, 1_234_567, 5_999_000]) {
    proxy.set({ kind: 'cut', afterBytes })
    const outcome = await store(target, 'cut/a', bytes).then(
      () => 'stored',
      (error) => error.code,
    )
    if (outcome === 'stored') await target.remove('cut/a', watch)
    else t.is(outcome, 'unavailable')
    t.is(proxy.cuts > 0, true)
    // Apache writes beside the partial file, and notices after us that the rest will not come.
    await until(`nothing is left after ${afterBytes} bytes`, () => hidden('cut').length === 0)
  }
  await store(target, 'cut/a', bytes)
  t.true((await load(target, 'cut/a')).equals(bytes))
})

serially('a server that stops in the middle is given up, not waited for', async (t) => {
  const { proxy, target } = await behindProxy(t)
  proxy.set({ kind: 'stall', afterBytes: 3_000_000 })
  const stopwatch = startStopwatch()
  await t.throwsAsync(store(target, 'stalled', noise(30_000_000)), { code: 'timeout', message: /nas/ })
  t.true(stopwatch.within(20_000), `${stopwatch}`)
  proxy.set({ kind: 'stall', afterBytes: -1 })
  const pinged = startStopwatch()
  await t.throwsAsync(target.ping(watch), { code: 'timeout' })
  t.true(pinged.within(5_500), `${pinged}`)
  proxy.set({ kind: 'none' })
  t.deepEqual(
    (await namesIn(target)).filter((name) => name === 'stalled'),
    [],
  )
})

serially('reading goes on where it was after a cut', async (t) => {
  const bytes = noise(8_000_000)
  await store(await open(), 'read', bytes)
  const { proxy, target } = await behindProxy(t)
  await using source = await target.get('read', watch)
  const chunks: Buffer[] = []
  let received = 0
  for await (const chunk of source.stream(0, bytes.length, watch.signal)) {
    chunks.push(chunk)
    received += chunk.length
    if (received > 2_000_000 && proxy.fault.kind === 'none' && proxy.cuts === 0) {
      proxy.cuts = 1
      proxy.dropAll()
    }
  }
  t.true(Buffer.concat(chunks).equals(bytes))
})

serially('a server that was killed is found again', async (t) => {
  const target = await open()
  const bytes = noise(2_000_000)
  await store(target, 'before', bytes)
  const sink = await target.put('during', watch)
  await sink.write(bytes)
  await server.kill()
  await t.throwsAsync(
    async () => {
      for (let written = 0; written < 50; written += 1) await sink.write(noise(1_000_000))
    },
    { code: 'unavailable' },
  )
  await t.throwsAsync(target.ping(watch), { code: 'unavailable' })
  await server.resume()
  t.true((await load(target, 'before')).equals(bytes))
  await target.sweep('', { ...watch, olderThanMs: -60_000 })
  t.false((await namesIn(target)).includes('during'))
  await store(target, 'during', bytes)
})

serially('a full disk on the server is told, and leaves nothing', async (t) => {
  const root = mountLoop(t, 'ext4', 64 * 2 ** 20)
  const small = await DavServer.start(temporaryDirectory(t), root)
  t.teardown(() => void small.kill())
  const target = await open({ port: small.port })
  const error = await t.throwsAsync(store(target, 'a', noise(90_000_000)))
  t.is(Object(error).code, 'no_space', error?.message)
  t.deepEqual(
    readdirSync(root).filter((name) => name !== 'lost+found' && !name.startsWith('.DAV')),
    [],
  )
  await store(target, 'a', noise(1_000_000))
  t.log(await target.free(watch))
  await small.kill()
})

serially('300 MiB pass without being held', async (t) => {
  const usedMib = streamMany(configOf(), { password: DAV_PASSWORD }, 300)
  t.log(`${usedMib.toFixed(0)} MiB`)
  t.true(usedMib < 150)
})
