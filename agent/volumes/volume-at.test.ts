import { mkdirSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { temporaryDirectory } from '../../test/harness/loop-mount.ts'
import { createFileVolumes } from './file/file-volumes.ts'
import { findVolumeAt } from './volume-at.ts'

test('a path is a volume by where it leads, whether something stands there or not', async (t) => {
  const folder = temporaryDirectory(t)
  const pool = join(folder, 'pool')
  mkdirSync(pool)
  const pools = new Map([['main', await createFileVolumes(pool, 'copy')]])
  const watch = { signal: new AbortController().signal, progress: () => undefined }
  const volume = await pools.get('main')?.create({ volume: 'a/b', sizeBytes: 2 ** 20, createParent: true }, watch)
  const device = volume?.device ?? ''
  t.is(findVolumeAt(device, pools), 'main/a/b')
  symlinkSync(device, join(folder, 'link'))
  t.is(findVolumeAt(join(folder, 'link'), pools), 'main/a/b')
  symlinkSync(pool, join(folder, 'again'))
  t.is(findVolumeAt(join(folder, 'again/volumes/a+/b.raw'), pools), 'main/a/b')
  t.is(findVolumeAt(join(pool, 'volumes/later.raw'), pools), 'main/later')
  for (const other of ['volumes/a@/s.raw', 'volumes/.staged/x', 'volumes/a+', 'volumes/a+b.raw', 'b.raw', 'volumes'])
    t.is(findVolumeAt(join(pool, other), pools), undefined, other)
})

test('a device is a LUN by the link that udev makes for its path', (t) => {
  const links = temporaryDirectory(t)
  symlinkSync('/dev/null', join(links, 'ip-192.0.2.1:3260-iscsi-iqn.2026-01.Test:a-lun-1'))
  symlinkSync('/dev/zero', join(links, 'pci-0000:00:1f.2-ata-1'))
  writeFileSync(join(links, 'ip-192.0.2.1:3260-iscsi-iqn.2026-01.test:b-lun-1'), '')
  t.is(findVolumeAt('/dev/null', new Map(), links), 'iscsi:iqn.2026-01.test:a')
  t.is(findVolumeAt('/dev/zero', new Map(), links), undefined)
  t.is(findVolumeAt(join(realpathSync(links), 'pci-0000:00:1f.2-ata-2'), new Map(), links), undefined)
  t.is(findVolumeAt('/dev/null', new Map(), '/nowhere'), undefined)
})
