import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { FleetError } from '../../../shared/errors.ts'
import { errorCodeOf } from '../../native/system-error.ts'
import type { WantedTarget } from '../exports.ts'
import { directoriesIn, isDirectory, makeDirectory, put, removeDirectory, take } from './configfs.ts'
import { STORE_KINDS, STORE_PREFIX, type StoreKind, storesPath, type TargetPaths, targetPaths } from './layout.ts'

/** What LUN 0 shows. */
export interface Store {
  readonly kind: StoreKind
  readonly path: string
  readonly device: string
  /** The volume's guid. */
  readonly serial: string
}

/** As `control` takes it: values between commas. */
const DEVICE = /^\/[A-Za-z0-9/._:@+-]+$/
/** The kernel takes 254 of a serial number (INQUIRY_VPD_SERIAL_LEN). */
const SERIAL = /^[A-Za-z0-9._:-]{1,200}$/
const SERIAL_LINE = /^T10 VPD Unit Serial Number: (.*)$/m

export async function findStore(root: string, { storeName }: TargetPaths): Promise<Store | undefined> {
  for (const kind of STORE_KINDS) {
    const path = join(storesPath(root, kind), storeName)
    if (!(await isDirectory(path))) continue
    const device = (await take(join(path, 'udev_path'))) ?? ''
    const serial = SERIAL_LINE.exec((await take(join(path, 'wwn', 'vpd_unit_serial'))) ?? '')?.[1] ?? ''
    return { kind, path, device, serial }
  }
  return undefined
}

/** The wwns that our stores are for, with and without a target. */
export async function namesOfStores(root: string): Promise<readonly string[]> {
  const names: string[] = []
  for (const kind of STORE_KINDS) {
    const folder = storesPath(root, kind)
    for (const storeName of (await directoriesIn(folder)).filter((name) => name.startsWith(STORE_PREFIX))) {
      const wwn = await take(join(folder, storeName, 'alias'))
      if (wwn !== undefined && targetPaths(root, wwn).storeName === storeName) names.push(wwn)
    }
  }
  return names
}

/**
 * A zvol as it is, a raw image as a file that is written through (O_DSYNC): what an initiator was told is written is on the disk.
 * @throws not_found, conflict (in use on this host), invalid
 */
export async function makeStore(root: string, paths: TargetPaths, { device, guid }: WantedTarget): Promise<Store> {
  if (!DEVICE.test(device) || !SERIAL.test(guid)) {
    throw new FleetError('invalid', 'the volume cannot be exported by LIO', { detail: `${device} ${guid}` })
  }
  const status = await stat(device).catch((cause) => {
    throw new FleetError('not_found', 'the device of the volume is not there', { detail: device, cause })
  })
  const kind = status.isBlockDevice() ? 'iblock' : 'fileio'
  await makeDirectory(storesPath(root, kind))
  const path = join(storesPath(root, kind), paths.storeName)
  await makeDirectory(path)
  // First: whoever finds it half made knows by it whose it is.
  await put(join(path, 'alias'), paths.wwn)
  const control = kind === 'iblock' ? `udev_path=${device}` : `fd_dev_name=${device},fd_dev_size=${status.size}`
  await put(join(path, 'control'), control)
  await put(join(path, 'udev_path'), device)
  await put(join(path, 'wwn', 'vpd_unit_serial'), guid)
  await put(join(path, 'enable'), '1').catch((cause) => {
    if (errorCodeOf(cause) !== 'EBUSY') throw cause
    throw new FleetError('conflict', 'the device of the volume is in use on this host', { detail: device, cause })
  })
  // What an initiator discards is given back to the pool, where the device can.
  await put(join(path, 'attrib', 'emulate_tpu'), '1').catch(() => undefined)
  return { kind, path, device, serial: guid }
}

export async function removeStore(store: Store | undefined): Promise<void> {
  if (store !== undefined) await removeDirectory(store.path)
}

/** A file's size is told to the kernel; a block device's is looked up by it. */
export async function resizeStore(store: Store): Promise<void> {
  if (store.kind !== 'fileio') return
  const { size } = await stat(store.device)
  await put(join(store.path, 'control'), `fd_dev_size=${size}`)
}
