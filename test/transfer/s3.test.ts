import test, { type ExecutionContext } from 'ava'
import { openTarget } from '../../agent/transfer/open-target.ts'
import { S3TargetConfig } from '../../shared/target-config.ts'
import { FaultProxy } from '../harness/fault-proxy.ts'
import { temporaryDirectory } from '../harness/loop-mount.ts'
import { lacksSwift, S3_ACCOUNT, SwiftServer } from '../harness/swift-server.ts'
import { testUnless } from '../harness/system-packages.ts'
import { targetContract } from './target-contract.ts'
import { context, load, namesIn, noise, store, streamMany, watch, writeAll } from './target-setup.ts'

/** The server is OpenStack Swift's s3api: real object storage and a real S3 dialect, but not Amazon's. */
const lacks = lacksSwift()
const serially = testUnless(lacks)
const cleanUps: (() => void)[] = []
let server: SwiftServer

test.before(async () => {
  if (lacks !== undefined) return
  server = await SwiftServer.start(temporaryDirectory({ teardown: (act) => cleanUps.push(act) }))
  await server.makeBucket('bucket')
})
test.after.always(async () => {
  await server?.stop()
  for (const cleanUp of cleanUps.toReversed()) cleanUp()
})

function configOf(changed: Readonly<Record<string, unknown>> = {}): S3TargetConfig {
  const place = { protocol: 's3', name: 'cloud', host: '127.0.0.1', port: server.port, encrypt: false, pathStyle: true }
  const account = { bucket: 'bucket', base: '/fleet', accessKeyId: S3_ACCOUNT.accessKeyId }
  return S3TargetConfig.parse({ ...place, ...account, ...changed })
}

const open = (changed: Readonly<Record<string, unknown>> = {}, password: string = S3_ACCOUNT.secretAccessKey) =>
  openTarget(configOf(changed), { password }, context)

async function behindProxy(t: ExecutionContext) {
  const proxy = await FaultProxy.start(server.port)
  t.teardown(() => proxy.close())
  return { proxy, target: await open({ port: proxy.port }) }
}

targetContract({ open: () => open(), verified: 'checksum', lacks })

serially('a wrong key and a missing bucket are told', async (t) => {
  await t.throwsAsync((await open({}, 'not the key')).ping(watch), { code: 'refused', message: /access key/ })
  await t.throwsAsync((await open({ bucket: 'absent' })).ping(watch), { code: 'not_found', message: /bucket/ })
})

serially('parts that were cut are sent again', async (t) => {
  const { proxy, target } = await behindProxy(t)
  const bytes = noise(30_000_000)
  for (const afterBytes of [100, 5_000_000, 21_000_000]) {
    proxy.cuts = 0
    proxy.set({ kind: 'cut', afterBytes })
    await writeAll(await target.put('cut', { ...watch, replace: true }), bytes)
    t.is(proxy.cuts, 1, `after ${afterBytes} bytes`)
  }
  t.true((await load(target, 'cut')).equals(bytes))
})

serially('parts of an upload that died are swept once they are old', async (t) => {
  const { proxy, target } = await behindProxy(t)
  const sink = await target.put('dead/a', watch)
  await sink.write(noise(9_000_000))
  proxy.set({ kind: 'stall', afterBytes: -1 })
  proxy.dropAll()
  await t.throwsAsync(writeAll(sink, noise(9_000_000)))
  const direct = await open()
  t.is(await direct.sweep('dead', { ...watch, olderThanMs: 3_600_000 }), 0)
  t.is(await direct.sweep('dead', { ...watch, olderThanMs: -60_000 }), 1)
  t.is(await direct.sweep('dead', { ...watch, olderThanMs: -60_000 }), 0)
  t.deepEqual(await namesIn(direct, 'dead'), [])
})

serially('a listing goes on over its pages', async (t) => {
  const target = await open()
  const names = Array.from({ length: 120 }, (_, index) => `n${String(index).padStart(4, '0')}`)
  for (let start = 0; start < names.length; start += 4)
    await Promise.all(names.slice(start, start + 4).map((name) => store(target, `many/${name}`, Buffer.from(name))))
  t.deepEqual(await namesIn(target, 'many'), names)
})

serially('300 MiB pass without being held', async (t) => {
  const usedMib = streamMany(configOf(), { password: S3_ACCOUNT.secretAccessKey }, 300)
  t.log(`${usedMib.toFixed(0)} MiB`)
  t.true(usedMib < 150)
})
