;; Writes the samples beside it with the real library, org.clojure/data.fressian, to read them back.
;;
;;   java -cp clojure-1.11.1.jar:spec.alpha-0.3.218.jar:core.specs.alpha-0.2.62.jar:data.fressian-1.0.0.jar:fressian-0.6.6.jar \
;;     clojure.main samples.clj FOLDER
;;
;; The Fressian is the library's. The tags that Jepsen adds, and the blocks around (jepsen.store.format), are
;; written here from their description; Jepsen itself is not in the registries from which these libraries come.

(ns samples
  (:require [clojure.data.fressian :as fress]
            [clojure.java.io :as io])
  (:import (java.io ByteArrayOutputStream DataOutputStream RandomAccessFile)
           (java.util.zip CRC32)
           (org.fressian FressianWriter StreamingWriter TaggedObject)
           (org.fressian.handlers WriteHandler)))

;; -- what Jepsen adds to Fressian ----------------------------------------------------------------

(defrecord Op [index time type process f value])
(defrecord BlockRef [id])
(defrecord Bag [counts])
(defrecord Outcome [valid? stale])

(defn handler [f]
  (reify WriteHandler (write [_ w x] (f w x))))

(defn tagged
  "Writes a tag and its parts."
  [tag & parts]
  {tag (handler (fn [w x]
                  (.writeTag w tag (count parts))
                  (doseq [part parts] (.writeObject w (part x)))))})

(def handlers
  (-> fress/clojure-write-handlers
      (assoc Op {"jepsen.history.Op"
                 (handler (fn [w op]
                            (.writeTag w "jepsen.history.Op" 7)
                            (.writeInt w (long (:index op)))
                            (.writeInt w (long (:time op)))
                            (.writeObject w (:type op) true)
                            (.writeObject w (:process op))
                            (.writeObject w (:f op) true)
                            (.writeObject w (:value op))
                            (.writeObject w (.__extmap op))))}
             BlockRef                        (tagged "block-ref" :id)
             Bag                             (tagged "multiset" :counts)
             clojure.lang.Atom               (tagged "atom" deref)
             clojure.lang.PersistentHashSet  (tagged "persistent-hash-set" seq)
             clojure.lang.PersistentTreeSet  (tagged "persistent-sorted-set" seq)
             clojure.lang.MapEntry           (tagged "map-entry" key val)
             java.time.Instant               (tagged "instant" str)
             Byte                            {"byte" (handler (fn [w b]
                                                                (.writeTag w "byte" 1)
                                                                (.writeInt w (long b))))})
      fress/associative-lookup
      fress/inheritance-lookup))

(defn fressian
  "The bytes of some values, one after the other; after: what else is done to the writer."
  [values & {:keys [cache? each] :or {each identity}}]
  (let [out (ByteArrayOutputStream.)
        w   (fress/create-writer out :handlers handlers)]
    (doseq [value values]
      (if cache? (.writeObject w value true) (.writeObject w value))
      (each w))
    (.toByteArray out)))

;; -- blocks ---------------------------------------------------------------------------------------

(defn packed
  "Bytes of some [:int n] and [:long n]."
  [parts]
  (let [bytes (ByteArrayOutputStream.) out (DataOutputStream. bytes)]
    (doseq [[kind n] parts]
      (case kind :int (.writeInt out n) :long (.writeLong out n)))
    (.toByteArray bytes)))

(defn header [type size crc]
  (let [bytes (ByteArrayOutputStream.) out (DataOutputStream. bytes)]
    (.writeLong out (+ 28 size))
    (.writeInt out (unchecked-int crc))
    (.writeShort out type)
    (.write out (byte-array 14))
    (.toByteArray bytes)))

(defn block [type data]
  (let [crc (doto (CRC32.) (.update data) (.update (header type (count data) 0)))]
    (byte-array (concat (header type (count data) (.getValue crc)) data))))

(defn joined [& parts] (byte-array (mapcat seq parts)))

(defn create
  "A file without blocks: {:file, :ids {id offset}}"
  [path version]
  (io/make-parents path)
  (let [file (RandomAccessFile. path "rw")]
    (.setLength file 0)
    (.write file (joined (.getBytes "JEPSEN") (packed [[:int version] [:long 0]])))
    {:file file :ids {} :next 1}))

(defn put
  "Puts a block at the end, under an id."
  [{:keys [^RandomAccessFile file] :as store} id type data]
  (let [at (.length file)]
    (.seek file at)
    (.write file ^bytes (block type data))
    (assoc-in store [:ids id] at)))

(defn index
  "Puts an index at the end, and makes the header point to it."
  [{:keys [^RandomAccessFile file ids] :as store} id root]
  (let [at    (.length file)
        ids   (assoc ids id at)
        store (put store id 1 (packed (cons [:int root]
                                            (mapcat (fn [[id at]] [[:int id] [:long at]]) ids))))]
    (.seek file 10)
    (.writeLong file at)
    store))

(def about {:name "append" :nodes ["n1" "n2"] :concurrency 2 :start-time (java.util.Date. 0)})

(defn chunks-written
  "The state of a run after some chunks of its history: each a block, a big vector, an index."
  [store chunks]
  (let [store (-> store
                  (put 1 2 (fressian [nil]))
                  (put 2 2 (fressian [(assoc about :history (->BlockRef (int 1)))]))
                  (index 3 2))]
    (loop [store store, id 4, at 0, table [], [chunk & more] chunks]
      (if-not chunk
        (assoc store :next id)
        (let [table (conj table [at id]) end (+ at (count chunk))]
          (recur (-> store
                     (put id 4 (fressian chunk))
                     (put 1 5 (packed (cons [:long end]
                                            (mapcat (fn [[at id]] [[:long at] [:int id]]) table))))
                     (index (inc id) 2))
                 (+ id 2) end table more))))))

(defn finished
  "What a run writes when its history is complete: the test again, its results, the test again."
  [{:keys [next] :as store}]
  (-> store
      (put next 2 (fressian [(assoc about :history (->BlockRef (int 1)))]))
      (index (+ next 1) next)
      (put (+ next 2) 3 (joined (packed [[:int 0]]) (fressian [{:anomalies {}}])))
      (put (+ next 3) 3 (joined (packed [[:int (+ next 2)]]) (fressian [{:valid? true}])))
      (put (+ next 4) 2 (fressian [(assoc about :history (->BlockRef (int 1))
                                          :results (->BlockRef (int (+ next 3))))]))
      (index (+ next 5) (+ next 4))))

;; -- samples --------------------------------------------------------------------------------------

(def widths (mapcat (fn [n] [(- (bit-shift-left 1 n)) (dec (bit-shift-left 1 n)) (bit-shift-left 1 n)])
                    [0 5 6 11 12 13 18 19 20 24 25 26 32 33 34 40 41 42 48 49 50 62]))

(def values
  (concat
    [nil true false -1 0 63 64 Long/MAX_VALUE Long/MIN_VALUE]
    widths
    [0.0 1.0 -2.5 1.0e300 ##NaN ##Inf ##-Inf (float 0.1) 2.5M -1.25e40M 7N 123456789012345678901234567890N
     -123456789012345678901234567890N 2/3 -1/7
     "" "a" "seven!!" "eight!!!" "naïve ☃ 😀 \u0000" \a \newline \☃
     :send :kafka/send 'sym 'name.space/sym
     #uuid "c0ffee00-0000-4000-8000-00000000beef" #inst "2026-11-25T12:34:56.789-00:00"
     [] [1] [1 2 3 4 5 6 7] [1 2 3 4 5 6 7 8] (range 100) '(1 (2 (3))) (map inc [1 2 3])
     {} {:f :read :value [0 nil]} {0 1, "s" 2, [1 :k] 3, nil 4, :kafka/k 5} (zipmap (range 40) (range 40))
     #{} #{1} (sorted-set 3 1 2) (first {:k :v}) {:error [:timeout "no reply"] :node "n1"}
     {:txn [[:append 5 12] [:r 3 [1 2 3]] [:r 4 nil]]}]))

(def unprintable
  "[value what-EDN-has-for-it]: what has no text of its own, or no equal one."
  [[(long-array [1 -2 3000000000]) [1 -2 3000000000]]
   [(int-array [1 -2 300000]) [1 -2 300000]]
   [(double-array [0 1 2.5]) [0.0 1.0 2.5]]
   [(float-array [0 1 2.5]) [0.0 1.0 2.5]]
   [(boolean-array [true false]) [true false]]
   [(object-array [1 "a" :b]) [1 "a" "b"]]
   [(byte-array [1 2 3]) "AQID"]
   [(byte-array 8) "AAAAAAAAAAA="]
   [(atom {:a 1}) {"a" 1}]
   [(byte 7) 7]
   [(java.net.URI. "http://h/p?q") "http://h/p?q"]
   [#"a+b" "a+b"]
   [(java.time.Instant/ofEpochMilli 1) "1970-01-01T00:00:00.001Z"]
   [(->Bag {1 2, :x 1}) [1 1 "x"]]
   [(->Outcome true [3]) {"valid?" true "stale" [3]}]
   [(TaggedObject. "unheard-of" (object-array [1 2])) [1 2]]
   [(TaggedObject. "unheard-of-alone" (object-array ["x"])) "x"]])

(defn op [index type process f value & {:as extra}]
  (merge (->Op index (+ 1000 (* index 7000000)) type process f value) extra))

(def history
  [(op 0 :info :nemesis :start-partition nil)
   (op 1 :invoke 0 :txn [[:append 1 1] [:r 2 nil]])
   (op 2 :invoke 1 :txn [[:append 2 1] [:r 1 nil]])
   (op 3 :info :nemesis :start-partition [:isolated {"n1" #{"n2"}}])
   (op 4 :ok 0 :txn [[:append 1 1] [:r 2 nil]])
   (op 5 :ok 1 :txn [[:append 2 1] [:r 1 [1]]])
   (op 6 :invoke 0 :txn [[:append 1 2]])
   (op 7 :invoke 1 :txn [[:r 1 nil] [:r 2 nil]])
   (op 8 :fail 0 :txn [[:append 1 2]] :error [:timeout "no reply"] :node "n1")
   (op 9 :info 1 :txn [[:r 1 nil] [:r 2 nil]] :error :unknown :node "n2")
   (op 10 :invoke 0 :txn [[:r 1 nil] [:r 2 nil]])
   (op 11 :ok 0 :txn [[:r 1 [1]] [:r 2 [1]]])])

(defn spit-bytes [path bytes]
  (io/make-parents path)
  (with-open [out (io/output-stream path)] (.write out ^bytes bytes)))

(defn spit-edn [path values]
  (spit path (apply str (map #(str (binding [*print-meta* false] (pr-str %)) "\n") values))))

(defn cut
  "All but the last bytes of a file."
  [from to bytes]
  (let [all (java.nio.file.Files/readAllBytes (.toPath (io/file from)))]
    (spit-bytes to (java.util.Arrays/copyOf all (int (- (count all) bytes))))))

(defn -main [folder]
  (let [at #(str folder "/" %)
        [whole rest] (split-at 8 history)]
    (spit-bytes (at "values.bin") (fressian values))
    (spit-edn (at "values.edn") values)
    (spit-bytes (at "unprintable.bin") (fressian (map first unprintable)))
    (spit-edn (at "unprintable.edn") (map second unprintable))
    ;; The same values, all cached and all twice, with footers and resets between.
    (spit-bytes (at "cached.bin")
                (fressian (mapcat #(vector % %) values) :cache? true))
    (spit-bytes (at "footers.bin") (fressian values :each #(.writeFooter %)))
    (spit-bytes (at "resets.bin") (fressian values :cache? true :each #(.resetCaches %)))
    (spit-bytes (at "long.bin")
                (fressian [(apply str (repeat 7500 "☃😀")) (byte-array 70000 (byte 1))]))
    (spit-bytes (at "lists.bin")
                (let [out (ByteArrayOutputStream.)
                      w   ^StreamingWriter (fress/create-writer out :handlers handlers)]
                  (.beginOpenList w)
                  (.beginClosedList w)
                  (doseq [x [1 "a" [2]]] (.writeObject w x))
                  (.endList w)
                  (.writeObject w :last)
                  (.toByteArray out)))
    (spit-edn (at "history.edn") (map #(into {} %) history))
    (-> (create (at "test.jepsen") 1) (chunks-written [whole rest]) finished)
    ;; Killed while the second chunk was being written: its header is still empty.
    (let [{:keys [^RandomAccessFile file]} (-> (create (at "killed.jepsen") 1) (chunks-written [whole]))
          written (fressian rest)]
      (.seek file (.length file))
      (.write file (byte-array 28))
      (.write file written 0 (- (count written) 5)))
    ;; Killed before the first chunk was complete.
    (let [{:keys [^RandomAccessFile file]} (-> (create (at "early.jepsen") 1) (chunks-written []))]
      (.seek file (.length file))
      (.write file (byte-array 28))
      (.write file (fressian whole)))
    ;; Version 0: the history is one value, of maps without indices.
    (-> (create (at "version-0.jepsen") 0)
        (put 1 3 (joined (packed [[:int 0]]) (fressian [{:valid? true}])))
        (put 2 2 (fressian [(map #(dissoc (into {} %) :index) history)]))
        (put 3 2 (fressian [(assoc about :history (->BlockRef (int 2)) :results (->BlockRef (int 1)))]))
        (index 4 3))))

(apply -main *command-line-args*)
