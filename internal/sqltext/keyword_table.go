package sqltext

// One switch per range of first letters: the compiler turns each into a binary
// search, which is as fast as a table and needs no package state.

func wordAToC(key []byte) word {
	switch string(key) {
	case "abort":
		return wAbort
	case "access":
		return wAccess
	case "alter":
		return wAlter
	case "analyze", "analyse":
		return wAnalyze
	case "and":
		return wAnd
	case "any":
		return wAny
	case "array":
		return wArray
	case "as":
		return wAs
	case "atomic":
		return wAtomic
	case "begin":
		return wBegin
	case "between":
		return wBetween
	case "by":
		return wBy
	case "call":
		return wCall
	case "case":
		return wCase
	case "check":
		return wCheck
	case "checkpoint":
		return wCheckpoint
	case "class":
		return wClass
	case "close":
		return wClose
	case "cluster":
		return wCluster
	case "comment":
		return wComment
	case "commit":
		return wCommit
	case "concurrently":
		return wConcurrently
	case "conflict":
		return wConflict
	case "constraint":
		return wConstraint
	case "copy":
		return wCopy
	case "create":
		return wCreate
	default:
		return noWord
	}
}

func wordDToH(key []byte) word {
	switch string(key) {
	case "data":
		return wData
	case "deallocate":
		return wDeallocate
	case "declare":
		return wDeclare
	case "default":
		return wDefault
	case "delete":
		return wDelete
	case "discard":
		return wDiscard
	case "distinct":
		return wDistinct
	case "do":
		return wDo
	case "drop":
		return wDrop
	case "else":
		return wElse
	case "end":
		return wEnd
	case "event":
		return wEvent
	case "except":
		return wExcept
	case "execute":
		return wExecute
	case "exists":
		return wExists
	case "explain":
		return wExplain
	case "family":
		return wFamily
	case "fetch":
		return wFetch
	case "filter":
		return wFilter
	case "for":
		return wFor
	case "foreign":
		return wForeign
	case "freeze":
		return wFreeze
	case "from":
		return wFrom
	case "full":
		return wFull
	case "function":
		return wFunction
	case "global":
		return wGlobal
	case "grant":
		return wGrant
	case "group":
		return wGroup
	case "having":
		return wHaving
	default:
		return noWord
	}
}

func wordIToN(key []byte) word {
	switch string(key) {
	case "if":
		return wIf
	case "ilike":
		return wIlike
	case "import":
		return wImport
	case "in":
		return wIn
	case "include":
		return wInclude
	case "insert":
		return wInsert
	case "intersect":
		return wIntersect
	case "into":
		return wInto
	case "is":
		return wIs
	case "join":
		return wJoin
	case "key":
		return wKey
	case "large":
		return wLarge
	case "lateral":
		return wLateral
	case "like":
		return wLike
	case "limit":
		return wLimit
	case "listen":
		return wListen
	case "load":
		return wLoad
	case "local":
		return wLocal
	case "lock":
		return wLock
	case "mapping":
		return wMapping
	case "materialized":
		return wMaterialized
	case "merge":
		return wMerge
	case "move":
		return wMove
	case "no":
		return wNo
	case "not":
		return wNot
	case "notify":
		return wNotify
	default:
		return noWord
	}
}

func wordOToR(key []byte) word {
	switch string(key) {
	case "offset":
		return wOffset
	case "on":
		return wOn
	case "only":
		return wOnly
	case "operator":
		return wOperator
	case "or":
		return wOr
	case "order":
		return wOrder
	case "over":
		return wOver
	case "prepare":
		return wPrepare
	case "prepared":
		return wPrepared
	case "procedural":
		return wProcedural
	case "procedure":
		return wProcedure
	case "reassign":
		return wReassign
	case "recursive":
		return wRecursive
	case "refresh":
		return wRefresh
	case "reindex":
		return wReindex
	case "release":
		return wRelease
	case "replace":
		return wReplace
	case "reset":
		return wReset
	case "return":
		return wReturn
	case "returning":
		return wReturning
	case "revoke":
		return wRevoke
	case "rollback":
		return wRollback
	case "row":
		return wRow
	case "rows":
		return wRows
	default:
		return noWord
	}
}

func wordSToW(key []byte) word {
	switch string(key) {
	case "savepoint":
		return wSavepoint
	case "security":
		return wSecurity
	case "select":
		return wSelect
	case "session":
		return wSession
	case "set":
		return wSet
	case "share":
		return wShare
	case "show":
		return wShow
	case "some":
		return wSome
	case "start":
		return wStart
	case "table":
		return wTable
	case "temp":
		return wTemp
	case "temporary":
		return wTemporary
	case "text":
		return wText
	case "then":
		return wThen
	case "to":
		return wTo
	case "transaction":
		return wTransaction
	case "truncate":
		return wTruncate
	case "trusted":
		return wTrusted
	case "union":
		return wUnion
	case "unique":
		return wUnique
	case "unlisten":
		return wUnlisten
	case "unlogged":
		return wUnlogged
	case "update":
		return wUpdate
	case "user":
		return wUser
	case "using":
		return wUsing
	case "vacuum":
		return wVacuum
	case "values":
		return wValues
	case "verbose":
		return wVerbose
	case "when":
		return wWhen
	case "where":
		return wWhere
	case "window":
		return wWindow
	case "with":
		return wWith
	default:
		return noWord
	}
}
