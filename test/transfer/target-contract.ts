import { createHash, randomUUID } from 'node:crypto'
import type { ExecutionContext } from 'ava'
import type { Sink, Target } from '../../agent/transfer/transfer.ts'
import { testUnless } from '../harness/system-packages.ts'
import { load, namesIn, noise, store, watch, writeAll } from './target-setup.ts'

export interface TargetContract {
  readonly open: (t: ExecutionContext) => Promise<Target>
  readonly verified: 'reread' | 'checksum' | 'size'
  /** Why every test is skipped. */
  readonly lacks: string | undefined
}

const NASTY = ['a b', 'ünï+cödé', "it's %41 &<x>", 'semi;colon', '#hash?query', 'UPPER.tar.zst', '~tilde', '[bracket]']

/** What every protocol must do alike. */
export function targetContract(contract: TargetContract): void {
  const declare = (title: string, run: (t: ExecutionContext, target: Target, folder: string) => Promise<void>) => {
    testUnless(contract.lacks)(title, async (t) => {
      const target = await contract.open(t)
      const folder = randomUUID()
      await target.mkdir(folder, watch)
      await run(t, target, folder)
      await target[Symbol.asyncDispose]()
    })
  }

  declare('what was put is got, and its verification is told', async (t, target, folder) => {
    for (const sizeBytes of [0, 1, 3_000_000, 20_000_003]) {
      const bytes = noise(sizeBytes)
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      const path = `${folder}/file-${sizeBytes}`
      t.deepEqual(await store(target, path, bytes), { sizeBytes, sha256, verified: contract.verified })
      t.true((await load(target, path)).equals(bytes), `${sizeBytes} bytes`)
      t.is((await target.stat(path, watch))?.sizeBytes, sizeBytes)
    }
  })

  declare('ranges are read exactly, and end where the file does', async (t, target, folder) => {
    const bytes = noise(5_000_000)
    await store(target, `${folder}/a`, bytes)
    await using source = await target.get(`${folder}/a`, watch)
    for (const [offset, length] of [
      [0, 1],
      [4_999_999, 1],
      [123_457, 3_000_001],
      [4_999_990, 100],
      [6_000_000, 5],
    ] as const)
      t.true((await source.read(offset, length, watch.signal)).equals(bytes.subarray(offset, offset + length)))
  })

  declare('names of any kind are kept as they are', async (t, target, folder) => {
    for (const name of NASTY) {
      await store(target, `${folder}/${name}/${name}`, Buffer.from(name)).catch(async (error) => {
        t.is(error.code === 'conflict' ? 'not_found' : error.code, 'not_found', 'a parent that is missing')
        await target.mkdir(`${folder}/${name}`, watch)
        await store(target, `${folder}/${name}/${name}`, Buffer.from(name))
      })
      t.is((await load(target, `${folder}/${name}/${name}`)).toString(), name)
      t.deepEqual(await namesIn(target, `${folder}/${name}`), [name])
    }
    t.deepEqual(await namesIn(target, folder), NASTY.map((name) => `${name}/`).toSorted())
  })

  declare(
    'nothing is seen of an upload before it is finished, nor of one that was aborted',
    async (t, target, folder) => {
      const sink = await target.put(`${folder}/a`, watch)
      await sink.write(noise(9_000_000))
      t.deepEqual(await namesIn(target, folder), [])
      await sink.abort()
      await sink.abort()
      t.is(await target.stat(`${folder}/a`, watch), undefined)
      t.is(await target.sweep(folder, { ...watch, olderThanMs: -60_000 }), 0)
    },
  )

  declare('what was sent must be what was expected', async (t, target, folder) => {
    const sink = await target.put(`${folder}/a`, watch)
    await sink.write(Buffer.from('abc'))
    await t.throwsAsync(sink.finish({ sizeBytes: 3, sha256: 'f'.repeat(64) }), { code: 'corrupt' })
    t.deepEqual(await namesIn(target, folder), [])
  })

  declare('a file is replaced only when that is asked for', async (t, target, folder) => {
    await store(target, `${folder}/a`, Buffer.from('old'))
    await t.throwsAsync(target.put(`${folder}/a`, watch), { code: 'exists', message: new RegExp(target.name) })
    const late = await target.put(`${folder}/b`, watch)
    await store(target, `${folder}/b`, Buffer.from('first'))
    await t.throwsAsync(writeAll(late, Buffer.from('second')), { code: 'exists' })
    t.is((await load(target, `${folder}/b`)).toString(), 'first')
    await writeAll(await target.put(`${folder}/a`, { ...watch, replace: true }), Buffer.from('new'))
    t.is((await load(target, `${folder}/a`)).toString(), 'new')
    t.deepEqual(await namesIn(target, folder), ['a', 'b'])
  })

  declare('files and directories are renamed and removed', async (t, target, folder) => {
    await target.mkdir(`${folder}/x/y`, watch)
    await target.mkdir(`${folder}/x/y`, watch)
    await store(target, `${folder}/x/y/a`, Buffer.from('a'))
    await store(target, `${folder}/b`, Buffer.from('b'))
    await t.throwsAsync(target.rename(`${folder}/b`, `${folder}/x/y/a`, watch), { code: 'exists' })
    await target.rename(`${folder}/b`, `${folder}/x/y/b`, watch)
    await t.throwsAsync(target.rename(`${folder}/b`, `${folder}/c`, watch), { code: 'not_found' })
    if (target.features.renameDirectory) {
      await target.rename(`${folder}/x`, `${folder}/z`, watch)
      t.deepEqual(await namesIn(target, `${folder}/z/y`), ['a', 'b'])
      await t.throwsAsync(target.remove(`${folder}/z`, watch), { code: 'conflict' })
    }
    await target.remove(`${folder}/missing`, watch)
    await target.removeTree(folder, watch)
    t.is(await target.stat(folder, watch), undefined)
  })

  declare('what is absent is not found, and what leads out is refused', async (t, target, folder) => {
    await t.throwsAsync(target.get(`${folder}/nothing`, watch), { code: 'not_found' })
    t.is(await target.stat(`${folder}/nothing`, watch), undefined)
    for (const path of ['../a', 'a/../../b', 'a/\0b', '', 'a\\..\\b'])
      await t.throwsAsync(async () => target.put(path, watch), { code: 'invalid' }, path)
  })

  declare('a target answers a ping, and a cancelled order stops', async (t, target, folder) => {
    await target.ping(watch)
    const stopped = new AbortController()
    const sink: Sink = await target.put(`${folder}/a`, { signal: stopped.signal })
    await sink.write(noise(1_000_000))
    stopped.abort()
    await t.throwsAsync(sink.write(noise(1_000_000)), { code: 'cancelled' })
    t.deepEqual(await namesIn(target, folder), [])
  })
}
