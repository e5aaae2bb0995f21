DROP TABLE api.answer, api.key;
