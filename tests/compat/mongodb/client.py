"""pymongo: many documents, cursors, large documents, updates, errors, threads. Arguments: address, port."""

import hashlib
import sys
import threading

import pymongo
import pymongo.errors

client = pymongo.MongoClient(sys.argv[1], int(sys.argv[2]), directConnection=True, serverSelectionTimeoutMS=20_000,
                             socketTimeoutMS=20_000, compressors="zlib")
print(client.admin.command("ping"))
client.drop_database("tests")
numbers = client.tests.numbers

print(len(numbers.insert_many({"_id": number, "text": f"value {number}", "even": number % 2 == 0} for number in range(10_000)).inserted_ids))
print(numbers.count_documents({}), numbers.count_documents({"even": True}), numbers.find_one({"_id": 4711}))
for size in (0, 2, 1000):
    found = list(numbers.find({"_id": {"$gte": 9_000}}, batch_size=size).sort("_id"))
    print(size, len(found), hashlib.sha256(repr(found).encode()).hexdigest())
print(numbers.update_many({"even": True}, {"$set": {"seen": "yes"}}).modified_count, numbers.delete_many({"_id": {"$lt": 10}}).deleted_count)
print(list(numbers.aggregate([{"$group": {"_id": "$even", "sum": {"$sum": "$_id"}}}, {"$sort": {"_id": 1}}])))

large = bytes(index % 251 for index in range(251)) * 40_000
client.tests.large.insert_one({"_id": 1, "data": large})
print(client.tests.large.find_one({"_id": 1})["data"] == large)
try:
    numbers.insert_one({"_id": 4711})
except pymongo.errors.DuplicateKeyError as error:
    print("refused", error.code)
try:
    client.tests.command("nonsense")
except pymongo.errors.OperationFailure as error:
    print("refused", error.code)
result = numbers.bulk_write([pymongo.InsertOne({"_id": -1}), pymongo.UpdateOne({"_id": -1}, {"$set": {"a": 1}}), pymongo.DeleteOne({"_id": 5000})])
print(result.inserted_count, result.modified_count, result.deleted_count)

answers = {}


def work(number):
    for turn in range(20):
        client.tests.threads.update_one({"_id": number}, {"$set": {"turn": turn}}, upsert=True)
        answers[number] = client.tests.threads.find_one({"_id": number})


threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(sorted(answers.items()))
client.close()
