/** The entry of aedes-persistence that its types leave out; `MemorySessions` says what it makes. */

declare module 'aedes-persistence/asyncPersistence.js' {
  const MemoryPersistence: new () => unknown
  export default MemoryPersistence
}
