import koffi from 'koffi'
import { FleetError } from '../../shared/errors.ts'
import { libc } from '../native/libc.ts'

/** Of Debian's and Ubuntu's libiscsi7; another number would have other layouts than those below, which are of 1.19.0. */
const SYSTEM_LIBRARY = 'libiscsi.so.7'

/** A pointer that the library gave out. */
type Address = number
type Callback = (context: Address, status: number, task: Address, tag: number) => void

/** What a callback is registered as; to be given back. */
export type RegisteredCallback = bigint

/** The few calls of libiscsi (iscsi.h, scsi-lowlevel.h) that make one session and send commands over it; none of them waits. */
function load() {
  libc() // it sets what can only be set before the first library is loaded
  const library = koffi.load(SYSTEM_LIBRARY)
  const onAnswer = koffi.pointer(koffi.proto('void (size_t, int, size_t, size_t)'))
  const own = koffi.load(null)
  // The declaration beside each name is the type: koffi itself offers only `any`.
  return {
    register: (callback: Callback): RegisteredCallback => koffi.register(callback, onAnswer),
    unregister: (callback: RegisteredCallback): void => {
      koffi.unregister(callback)
    },
    create: library.func('iscsi_create_context', 'size_t', ['str']) as (initiator: string) => Address,
    destroy: library.func('iscsi_destroy_context', 'int', ['size_t']) as (context: Address) => number,
    setTarget: library.func('iscsi_set_targetname', 'int', ['size_t', 'str']) as (
      context: Address,
      name: string,
    ) => number,
    setType: library.func('iscsi_set_session_type', 'int', ['size_t', 'int']) as (
      context: Address,
      type: number,
    ) => number,
    setChap: library.func('iscsi_set_initiator_username_pwd', 'int', ['size_t', 'str', 'str']) as (
      context: Address,
      user: string,
      secret: string,
    ) => number,
    setNoReconnect: library.func('iscsi_set_noautoreconnect', 'void', ['size_t', 'int']) as (
      context: Address,
      never: number,
    ) => void,
    connect: library.func('iscsi_connect_async', 'int', ['size_t', 'str', onAnswer, 'size_t']) as (
      context: Address,
      portal: string,
      callback: RegisteredCallback,
      tag: number,
    ) => number,
    login: library.func('iscsi_login_async', 'int', ['size_t', onAnswer, 'size_t']) as (
      context: Address,
      callback: RegisteredCallback,
      tag: number,
    ) => number,
    logout: library.func('iscsi_logout_async', 'int', ['size_t', onAnswer, 'size_t']) as (
      context: Address,
      callback: RegisteredCallback,
      tag: number,
    ) => number,
    fd: library.func('iscsi_get_fd', 'int', ['size_t']) as (context: Address) => number,
    events: library.func('iscsi_which_events', 'int', ['size_t']) as (context: Address) => number,
    serve: library.func('iscsi_service', 'int', ['size_t', 'int']) as (context: Address, events: number) => number,
    error: library.func('iscsi_get_error', 'str', ['size_t']) as (context: Address) => string,
    redirectedTo: library.func('iscsi_get_target_address', 'str', ['size_t']) as (context: Address) => string,
    createTask: library.func('scsi_create_task', 'size_t', ['int', 'void *', 'int', 'int']) as (
      cdbBytes: number,
      cdb: Buffer,
      direction: number,
      bytes: number,
    ) => Address,
    freeTask: library.func('scsi_free_scsi_task', 'void', ['size_t']) as (task: Address) => void,
    takesIn: library.func('scsi_task_add_data_in_buffer', 'int', ['size_t', 'int', 'void *']) as (
      task: Address,
      bytes: number,
      data: Buffer,
    ) => number,
    givesOut: library.func('scsi_task_add_data_out_buffer', 'int', ['size_t', 'int', 'void *']) as (
      task: Address,
      bytes: number,
      data: Buffer,
    ) => number,
    send: library.func('iscsi_scsi_command_async', 'int', [
      'size_t',
      'int',
      'size_t',
      onAnswer,
      'void *',
      'size_t',
    ]) as (
      context: Address,
      lun: number,
      task: Address,
      callback: RegisteredCallback,
      data: null,
      tag: number,
    ) => number,
    poll: own.func('poll', 'int', ['void *', 'ulong', 'int']) as (
      fds: Buffer,
      count: number,
      timeoutMs: number,
    ) => number,
    fcntl: own.func('fcntl', 'int', ['int', 'int', 'long']) as (fd: number, command: number, value: number) => number,
  }
}

export type Libiscsi = ReturnType<typeof load>

let loaded: Libiscsi | undefined

/** The library, once a thread. @throws unavailable where it is not installed */
export function libiscsi(): Libiscsi {
  try {
    loaded ??= load()
    return loaded
  } catch (cause) {
    throw new FleetError('unavailable', 'this host reaches no LUNs of other services: libiscsi7 is not installed', {
      cause,
      detail: String(cause),
    })
  }
}

/** Whether this host can log in to LUNs. */
export function hasInitiator(): boolean {
  try {
    libiscsi()
    return true
  } catch {
    return false
  }
}

/** Where `struct scsi_task` (scsi-lowlevel.h) has what came back; an int, a size_t, and two ints of `struct scsi_sense`. */
const RESIDUAL_KIND = 32
const RESIDUAL_BYTES = 40
const SENSE_KEY = 52
const SENSE_ASCQ = 56
const UNDERFLOW = 1

export interface TaskEnd {
  readonly senseKey: number
  /** Additional sense code and its qualifier. */
  readonly ascq: number
  /** So much less was sent than was asked for. */
  readonly shortBytes: number
}

export function readTask(task: Address): TaskEnd {
  const isShort = koffi.decode(task, RESIDUAL_KIND, 'int') === UNDERFLOW
  return {
    senseKey: koffi.decode(task, SENSE_KEY, 'int'),
    ascq: koffi.decode(task, SENSE_ASCQ, 'int'),
    shortBytes: isShort ? Number(koffi.decode(task, RESIDUAL_BYTES, 'size_t')) : 0,
  }
}
